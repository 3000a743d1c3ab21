"""`python -m tests.rtx BUNDLE`: what does TensorRT-RTX build of a bundle's graphs?

Every graph of a bundle (f16 or bf16), as it is and quantized plainly, lowered, then parsed and
built ahead of time for each compute capability. No GPU needed. The bindings may be in an
environment of their own:

    python -m venv build/rtx-venv
    build/rtx-venv/bin/pip install tensorrt_rtx_cu13_libs==1.7.* tensorrt_rtx_cu13_bindings==1.7.*
    python -m tests.rtx BUNDLE --python build/rtx-venv/bin/python

Exit code 1 if what must build does not, or what cannot build does.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from engines.build import worker_job
from engines.fixed import fix_axes
from engines.library import Installed, find_library
from engines.lowering.flavours import FLAVOURS
from engines.process import interpreter, run_worker
from engines.profiles import Profile, profiles_for
from engines.toolkits import Flavour
from runtime.commands.console import size_text
from runtime.contract import GraphContract
from runtime.errors import OmnijetError
from runtime.manifest import Manifest
from tests.quantization.graphs import quantize

KINDS = ("none", "int4", "int8", "w8a8", "fp8", "int4z", "int8z")
CAPABILITIES = (86, 89, 120)
LIMITS: Mapping[str, int] = {
    "chunks": 15, "tokens": 750, "cells": 256, "windows": 64, "rows": 256, "branches": 2,
    "blocks": 16, "frames": 400, "capacity": 512,
}  # fmt: skip


def must_build(kind: str, capability: int) -> bool:
    """TensorRT has no zero points; FP8 begins with SM89."""
    return not kind.endswith("z") and not (kind == "fp8" and capability < 89)


def kinds_of(graph: str) -> tuple[str, ...]:
    """The vocoder has no products with weights."""
    return ("none",) if graph == "vocoder" else KINDS


def lowered(
    source: Path, contract: GraphContract, kind: str, folder: Path, flavour: Flavour = "native"
) -> Path:
    """The graph quantized, lowered, and its caches of fixed length."""
    if kind != "none":
        quantize(source, contract, folder / "quantized", kind, True)
        source = folder / "quantized" / source.name
    FLAVOURS[flavour](source, contract, folder / "lowered", 0, lambda count: None)
    path = folder / "lowered" / source.name
    fix_axes(path, {"capacity": LIMITS["capacity"]})
    return path


def build(
    path: Path, profiles: tuple[Profile, ...], contract: GraphContract, capability: int,
    installed: Installed,
) -> dict[str, Any]:  # fmt: skip
    """The verdict of `engines/worker.py`; the engine lies beside the graph."""
    job = worker_job(contract, profiles, installed.library, capability)
    return run_worker(installed.python, job, folder=path.parent)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--python", help="an interpreter that has the bindings (default: this)")
    parser.add_argument("--graphs", nargs="+")
    parser.add_argument("--kinds", nargs="+", choices=KINDS)
    parser.add_argument("--flavour", choices=("native", "decomposed"), default="native")
    options = parser.parse_args()
    try:
        installed = find_library("tensorrt_rtx", interpreter(options.python))
    except OmnijetError as error:
        print(error, file=sys.stderr)
        return 2
    manifest = Manifest.read(options.bundle)
    table = Table("graph", "kind", *(f"SM{capability}" for capability in CAPABILITIES))
    faults = 0
    for graph in options.graphs or manifest.graphs:
        for kind in kinds_of(graph):
            if kind not in (options.kinds or KINDS):
                continue
            cells, wrong = _row(options, manifest, graph, kind, installed)
            table.add_row(graph, kind, *cells)
            faults += wrong
    Console(width=160).print(table)
    return 1 if faults else 0


def _row(
    options: argparse.Namespace, manifest: Manifest, graph: str, kind: str, installed: Installed
) -> tuple[list[str], int]:
    """The cells, and how many of them are not as they must be."""
    contract = manifest.contracts[graph]
    profiles = profiles_for(contract, LIMITS, installed.library, manifest.dims.dit.block)
    cells, faults = [], 0
    with tempfile.TemporaryDirectory(prefix="omnijet-") as scratch:
        source = options.bundle / manifest.graphs[graph].file
        path = lowered(source, contract, kind, Path(scratch), options.flavour)
        for capability in CAPABILITIES:
            verdict = build(path, profiles, contract, capability, installed)
            wrong = verdict["done"] != must_build(kind, capability)
            faults += wrong
            cells.append(_cell(verdict) + (" (unexpected)" if wrong else ""))
            print(graph, kind, f"SM{capability}", cells[-1], *map(str, verdict.get("said", ())),
                  file=sys.stderr)  # fmt: skip
    return cells, faults


def _cell(verdict: Mapping[str, Any]) -> str:
    if not verdict["done"]:
        return str(verdict["stage"])
    return (
        f"{verdict['seconds']:.1f} s, {size_text(verdict['peak_bytes'])}, "
        f"{size_text(verdict['bytes'])}, {verdict['layers']} layers"
    )


if __name__ == "__main__":
    raise SystemExit(main())
