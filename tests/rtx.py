"""Builds of a bundle's graphs with TensorRT-RTX, which needs no GPU for that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omnijet.engines.engine_builder import worker_job
from omnijet.engines.fixed_axes import fix_axes
from omnijet.engines.library import Installed
from omnijet.engines.lowering.flavours import FLAVOURS
from omnijet.engines.process import run_worker
from omnijet.engines.profiles import Profile
from omnijet.engines.targets.toolkits import Flavour
from omnijet.runtime.bundle.contract import GraphContract
from tests.quantization.graphs import quantize

KINDS = ("none", "int4", "int8", "w8a8", "fp8", "int4z", "int8z")
CAPABILITIES = (86, 89, 120)
LIMITS: Mapping[str, int] = {
    "chunks": 15, "tokens": 750, "cells": 256, "windows": 64, "rows": 256, "branches": 2,
    "blocks": 16, "frames": 400, "capacity": 512, "picked": 8, "pictures": 4,
    "picture_cells": 256,
}  # fmt: skip


def must_build(kind: str, capability: int) -> bool:
    """Tells whether a build must succeed: TensorRT has no zero points, FP8 needs SM89."""
    return not kind.endswith("z") and not (kind == "fp8" and capability < 89)


def kinds_of(graph: str) -> tuple[str, ...]:
    """Returns the kinds for a graph; the vocoder has no products with weights."""
    return ("none",) if graph == "vocoder" else KINDS


def lowered(
    source: Path, contract: GraphContract, kind: str, folder: Path, flavour: Flavour = "native",
    capacity: int = LIMITS["capacity"],
) -> Path:  # fmt: skip
    """Returns the graph, plainly quantized and lowered, with caches of fixed length."""
    if kind != "none":
        quantize(source, contract, folder / "quantized", kind, True)
        source = folder / "quantized" / source.name
    FLAVOURS[flavour](source, contract, folder / "lowered", 0, lambda count: None)
    path = folder / "lowered" / source.name
    fix_axes(path, {"capacity": capacity})
    return path


def build(
    path: Path, profiles: tuple[Profile, ...], contract: GraphContract, capability: int,
    installed: Installed,
) -> dict[str, Any]:  # fmt: skip
    """Returns the verdict of `engines/worker.py`; the engine is written beside the graph."""
    job = worker_job(contract, profiles, installed.library, capability)
    return run_worker(installed.python, job, folder=path.parent)
