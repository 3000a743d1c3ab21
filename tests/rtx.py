"""`python -m tests.rtx BUNDLE`: does TensorRT-RTX build the quantized graphs?

Every graph of a bundle (f16 or bf16: attention has no kernel for f32 where queries share keys),
quantized plainly, lowered, then parsed and built ahead of time for each compute capability. No GPU
needed. The bindings may be in an environment of their own:

    python -m venv build/rtx-venv
    build/rtx-venv/bin/pip install tensorrt_rtx_cu13_libs==1.7.* tensorrt_rtx_cu13_bindings==1.7.*
    python -m tests.rtx BUNDLE --python build/rtx-venv/bin/python

Exit code 1 if what must build does not, or what cannot build does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import onnx
from rich.console import Console
from rich.table import Table

from engines.lowering import tensorrt
from runtime.contract import GraphContract
from runtime.manifest import Manifest
from tests.quantization.graphs import quantize

GRAPHS = ("audio_encoder", "vision_encoder", "thinker_step", "talker_step", "dit_step")
KINDS = ("none", "int4", "int8", "w8a8", "fp8", "int4z", "int8z")
TARGETS = ("SM86", "SM89", "SM120")
CAPACITY = 512  # TensorRT updates caches of a fixed length only
SMALLEST = {"chunks": 1, "tokens": 1, "cells": 4, "windows": 1, "rows": 1, "branches": 2,
            "blocks": 2, "frames": 8, "capacity": CAPACITY}  # fmt: skip
USUAL = {"chunks": 5, "tokens": 100, "cells": 64, "windows": 9, "rows": 64, "branches": 2,
         "blocks": 6, "frames": 100, "capacity": CAPACITY}  # fmt: skip
LARGEST = {"chunks": 15, "tokens": 750, "cells": 256, "windows": 25, "rows": 256, "branches": 2,
           "blocks": 16, "frames": 400, "capacity": CAPACITY}  # fmt: skip


def must_build(kind: str, target: str) -> bool:
    """TensorRT has no zero points; FP8 begins with SM89."""
    return not kind.endswith("z") and not (kind == "fp8" and target == "SM86")


def has_bindings(python: str) -> bool:
    code = "import tensorrt_rtx_bindings"
    return subprocess.run([python, "-c", code], capture_output=True).returncode == 0


def lowered(source: Path, contract: GraphContract, kind: str, folder: Path) -> Path:
    """The graph quantized, lowered, and its caches of fixed length."""
    if kind != "none":
        quantize(source, contract, folder / "quantized", kind, True)
        source = folder / "quantized" / source.name
    tensorrt.lower(source, contract, folder / "lowered", 0, lambda count: None)
    path = folder / "lowered" / source.name
    model = onnx.load(path, load_external_data=False)
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param == "capacity":
                axis.dim_value = CAPACITY
    onnx.save(model, path)
    return path


def build(path: Path, contract: GraphContract, target: str, python: str) -> dict[str, Any]:
    """The verdict of `tests/engines/rtx_build.py`."""
    sizes = (SMALLEST, USUAL, LARGEST)
    shapes = {spec.name: [list(spec.shape(size)) for size in sizes] for spec in contract.inputs}
    job = json.dumps({"path": str(path), "shapes": shapes, "target": target})
    script = Path(__file__).parent / "engines" / "rtx_build.py"
    done = subprocess.run([python, str(script)], input=job, capture_output=True, text=True)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        return {"built": False, "stage": "process", "said": said}
    verdict: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return verdict


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--python", help="an interpreter that has the bindings (default: this)")
    parser.add_argument("--graphs", nargs="+", choices=GRAPHS)
    parser.add_argument("--kinds", nargs="+", choices=KINDS)
    options = parser.parse_args()
    python = options.python or sys.executable
    if not has_bindings(python):
        print(f"{python} has no tensorrt_rtx_bindings; see `python -m tests.rtx --help`",
              file=sys.stderr)  # fmt: skip
        return 2
    contracts = Manifest.read(options.bundle).contracts
    table = Table("graph", "kind", *TARGETS)
    faults = 0
    for graph in options.graphs or GRAPHS:
        for kind in options.kinds or KINDS:
            with tempfile.TemporaryDirectory(prefix="omnijet-") as scratch:
                source = options.bundle / "graphs" / f"{graph}.onnx"
                path = lowered(source, contracts[graph], kind, Path(scratch))
                cells = []
                for target in TARGETS:
                    verdict = build(path, contracts[graph], target, python)
                    wrong = verdict["built"] != must_build(kind, target)
                    faults += wrong
                    cell = "built" if verdict["built"] else verdict["stage"]
                    if verdict["built"]:
                        cell += f", {verdict['layers']} layers, {verdict['seconds']:.1f} s"
                    cells.append(cell + (" (unexpected)" if wrong else ""))
                    print(graph, kind, target, cells[-1], *verdict.get("said", ()),
                          file=sys.stderr)  # fmt: skip
            table.add_row(graph, kind, *cells)
    Console(width=120).print(table)
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
