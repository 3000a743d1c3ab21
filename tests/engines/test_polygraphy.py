"""The script that compares engines with ONNX Runtime, without polygraphy: its shell and inputs."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np

from omnijet.engines.polygraphy import script
from omnijet.engines.profiles import profiles_for
from omnijet.engines.targets.target import TARGETS
from omnijet.runtime.bundle.manifest import EngineEntry, Manifest
from tests.quantization.graphs import run

TARGET = TARGETS["rtx-ampere"]


def with_engines(bundle: Path) -> Manifest:
    manifest = Manifest.read(bundle)
    limits = {
        **TARGET.limits,
        "capacity": 64,
        "rows": 8,
        "cells": 16,
        "windows": 4,
        "picture_cells": 16,
    }
    engines = {
        name: EngineEntry(
            f"engines/{TARGET.name}/{name}.engine", "key", "tensorrt_rtx", "1.7", 86,
            profiles_for(contract, limits, "tensorrt_rtx", manifest.dims.dit.block), True,
            1, 1, 1.0, 1,
        )
        for name, contract in manifest.contracts.items()
    }  # fmt: skip
    return replace(manifest, engines={TARGET.name: engines})


def test_the_script_runs_what_is_asked(nano_f16: Path, tmp_path: Path) -> None:
    """Runs the script with a `polygraphy` that records its arguments."""
    place = tmp_path / "bundle" / "engines" / TARGET.name / "compare.sh"
    place.parent.mkdir(parents=True)
    place.write_text(script(with_engines(nano_f16), TARGET))
    fake = tmp_path / "polygraphy"
    fake.write_text(f'#!/bin/sh\necho "$PWD $POLYGRAPHY_USE_TENSORRT_RTX $2" >> {tmp_path}/calls\n')
    fake.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    for asked, count in (([], 12), (["vocoder", "dit_step"], 4), (["no_graph"], 0)):
        (tmp_path / "calls").write_text("")
        subprocess.run(["sh", place, *asked], check=True, env=environment, cwd=tmp_path)
        calls = (tmp_path / "calls").read_text().splitlines()
        assert len(calls) == count
        assert all(call.startswith(str(tmp_path / "bundle")) for call in calls)
        assert sum(" 1 engines/" in call for call in calls) == count / 2
    fake.write_text("#!/bin/sh\nexit 1\n")
    assert subprocess.run(["sh", place], env=environment).returncode == 1


def test_what_the_processor_cannot_run_is_not_compared(nano_bf16: Path, tmp_path: Path) -> None:
    """The script reports graphs in bf16 and still compares those in f32."""
    manifest = with_engines(nano_bf16)
    made = script(manifest, TARGET)
    reference = re.findall(r"polygraphy run graphs/(\w+)\.onnx --onnxrt", made)
    assert reference == ["dit_step", "vocoder"] and made.count("--atol 0.001") == 2
    place = tmp_path / "compare.sh"
    place.write_text(made)
    done = subprocess.run(["sh", place, "thinker_step"], check=True, capture_output=True, text=True)
    assert done.stderr == "thinker_step: not compared, the CPU of ONNX Runtime has no bf16\n"


def test_its_inputs_are_ones_that_the_graph_takes(nano_f16: Path) -> None:
    """Inputs drawn like polygraphy's run in ONNX Runtime, and no index is out of range."""
    manifest = with_engines(nano_f16)
    random = np.random.default_rng(0)
    lines = [line for line in script(manifest, TARGET).splitlines() if "--onnxrt" in line]
    assert len(lines) == 6
    for line, (name, contract) in zip(lines, manifest.contracts.items(), strict=True):
        shapes, ranges = line.split("--val-range")
        inputs = {}
        for spec in contract.inputs:
            shape = re.search(rf"'{spec.name}:\[([\d,]+)\]'", shapes)
            ends = re.search(rf"'{spec.name}:\[([^]]+)\]'", ranges)
            assert shape and ends, spec.name
            low, high = map(float, ends[1].split(","))
            size = tuple(map(int, shape[1].split(",")))
            if spec.dtype in ("i64", "bool"):
                drawn = random.integers(int(low), int(high), size, endpoint=True)
            else:
                drawn = random.uniform(low, high, size)
            kinds = {"i64": np.int64, "bool": np.bool_, "f16": np.float16, "f32": np.float32}
            inputs[spec.name] = drawn.astype(kinds[spec.dtype])
        for output in run(nano_f16 / f"graphs/{name}.onnx", inputs, optimize=False):
            assert np.isfinite(output).all()
