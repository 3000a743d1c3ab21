"""Bundles with engines that the double runs."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from omnijet.runtime.bundle.contract import DType, GraphContract
from omnijet.runtime.bundle.manifest import EngineEntry, Library, Manifest, hash_file
from tests.runtime.backends.trt import library as double
from tests.runtime.backends.trt.gpu import Cuda, Gpu

VERSIONS: dict[Library, str] = {"tensorrt": "10.16.2", "tensorrt_rtx": "1.7.1.116"}
CAPACITY = 512
GROWING = (32, 128, CAPACITY)
"""Lengths of the caches of an engine that does not update them in place."""
Sizes = dict[str, tuple[int, ...]]
STEP: Sizes = {"rows": (1, 1, 1), "picked": (1, 1, 1), "capacity": (CAPACITY,) * 3}
PREFILL: Sizes = {"rows": (1, 64, 128), "picked": (1, 1, 16), "capacity": (CAPACITY,) * 3}
PROFILES: dict[str, tuple[Sizes, ...]] = {
    "audio_encoder": ({"chunks": (1, 2, 3), "tokens": (1, 100, 150)},),
    "vision_encoder": (
        {
            "cells": (1, 64, 300),
            "windows": (1, 9, 40),
            "pictures": (1, 1, 2),
            "picture_cells": (1, 64, 300),
        },
    ),
    "thinker_step": (PREFILL, STEP),
    "talker_step": tuple(
        {symbol: sizes for symbol, sizes in profile.items() if symbol != "picked"}
        for profile in (STEP, PREFILL)
    ),
    "dit_step": ({"branches": (1, 2, 2), "blocks": (1, 5, 9)},),
    "vocoder": ({"frames": (1, 100, 300)},),
}
TYPES: dict[DType, str] = {
    "f32": "FLOAT", "f16": "HALF", "bf16": "BF16", "i64": "INT64", "bool": "BOOL",
}  # fmt: skip


def with_engines(
    bundle: Path, folder: Path, target: str = "orin-nx", library: Library = "tensorrt",
    capability: int = 87, in_place: bool = True,
) -> Path:  # fmt: skip
    """Copies a bundle, and adds engines for the double."""
    shutil.copytree(bundle, folder)
    manifest = Manifest.read(folder)
    home = folder / "engines" / target
    home.mkdir(parents=True)
    files, entries = dict(manifest.files), {}
    for name, contract in manifest.contracts.items():
        path = home / f"{name}.engine"
        graph = (folder / manifest.graphs[name].file).resolve()
        profiles = PROFILES[name]
        if contract.state and not in_place:
            profiles = tuple({**profile, "capacity": GROWING} for profile in profiles)
        path.write_text(json.dumps(engine(contract, profiles, graph, in_place)))
        file = path.relative_to(folder).as_posix()
        files[file] = hash_file(path)
        entries[name] = EngineEntry(
            file, "k" * 8 + name, library, VERSIONS[library], capability, profiles,
            in_place or not contract.state, files[file].bytes, 1, 0.0, 0,
        )  # fmt: skip
    (folder / "manifest.json").unlink()  # a link to that of the bundle
    replace(manifest, engines={target: entries}, files=files).write(folder)
    return folder


def engine(
    contract: GraphContract, profiles: tuple[Sizes, ...], graph: Path, in_place: bool
) -> dict[str, Any]:
    """Returns the content of an engine file of the double."""
    fixed = {s: v[0] for s, v in profiles[0].items() if len({*v, *profiles[-1][s]}) == 1}
    moving = {symbol: -10_000 for symbol in contract.symbols if symbol not in fixed}
    tensors = []
    for mode, specs in (("INPUT", contract.inputs), ("OUTPUT", contract.outputs)):
        for spec in specs:
            shape = [max(axis, -1) for axis in spec.shape({**fixed, **moving})]
            tensors.append(
                {"name": spec.name, "dtype": TYPES[spec.dtype], "mode": mode, "shape": shape,
                 "axes": list(spec.axes)}
            )  # fmt: skip
    return {
        "onnx": str(graph),
        "tensors": tensors,
        "profiles": [
            {s.name: [s.shape({k: v[i] for k, v in profile.items()}) for i in range(3)]
             for s in contract.inputs}
            for profile in profiles
        ],
        "state": [[pair.input, pair.output] for pair in contract.state],
        "in_place": in_place,
        "scratch": 1000,
    }  # fmt: skip


@contextmanager
def installed(gpu: Gpu, *names: Library) -> Iterator[dict[Library, double.Library]]:
    """Puts the doubles in place of the real modules."""
    libraries = {name: double.Library(gpu, name, VERSIONS[name]) for name in names}
    modules: dict[str, Any] = {"cuda.bindings.runtime": Cuda(gpu)}
    for name in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"):
        modules[name] = libraries.get(name)  # type: ignore[call-overload]
    with patch.dict(sys.modules, modules):
        yield libraries


@dataclass(frozen=True)
class Machine:
    """A GPU and the one library that is installed."""

    gpu: Gpu
    library: double.Library


@contextmanager
def machine(library: Library = "tensorrt", **attributes: Any) -> Iterator[Machine]:
    """Makes a machine whose `Gpu` has these attributes."""
    gpu = Gpu(**attributes)
    with installed(gpu, library) as libraries:
        yield Machine(gpu, libraries[library])
