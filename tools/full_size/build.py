"""`python -m tools.full_size.build`: which engines TensorRT-RTX builds at full size.

A synthetic checkpoint is exported as f16 and as bf16. Every graph, unquantized and plainly
quantized, is lowered and built ahead of time for each GPU; the machine needs none. The program
prints a table of seconds, measured and predicted peak memory, size and layers. The exit code is 1
if a graph that must build does not, or one that cannot build does. Verdicts are kept in a file, and
a later run continues after them. The 3B takes 60 GB of disk and 16 GB of memory. Existing bundles
can be given:

    python -m tools.full_size.build --f16 build/full/f16 --bf16 build/full/bf16
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from omnijet.engines.build_memory import WeightBytes
from omnijet.engines.library import Installed, find_library
from omnijet.engines.process import Died, interpreter
from omnijet.engines.profiles import block_of, profiles_for
from omnijet.engines.targets.build_rates import predicted_bytes
from omnijet.engines.targets.target import TARGETS
from omnijet.engines.targets.toolkits import Flavour
from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.commands.console import size_text
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.profiling.machine import machine
from tests.rtx import KINDS, build, kinds_of, lowered, must_build

ROOT = Path(__file__).parents[2]
BUILDABLE = tuple(kind for kind in KINDS if not kind.endswith("z"))
WIDE = ("dit_step", "vocoder")
"""Graphs that are f32 in every bundle: the bundle of one precision covers them."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One engine to build."""

    precision: str
    graph: str
    kind: str
    target: str
    flavour: Flavour


class Kept:
    """The verdicts on cells, kept in a file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        self.verdicts = {Cell(**line.pop("cell")): line for line in lines}

    def add(self, cell: Cell, verdict: dict[str, Any]) -> None:
        self.verdicts[cell] = verdict
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"cell": asdict(cell), **verdict}) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.full_size.build", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("preset", nargs="?", default="3b", help="see `omnijet synthesize --help`")
    parser.add_argument("--scratch", type=Path, default=ROOT / "build" / "build-full")
    parser.add_argument("--f16", type=Path, help="an f16 bundle, in place of the preset's")
    parser.add_argument("--bf16", type=Path, help="likewise")
    parser.add_argument("--precisions", nargs="+", default=["f16", "bf16"],
                        choices=("f16", "bf16"))  # fmt: skip
    parser.add_argument("--graphs", nargs="+")
    parser.add_argument("--kinds", nargs="+", default=BUILDABLE, choices=BUILDABLE)
    parser.add_argument("--targets", nargs="+", default=["rtx-ampere", "rtx-ada", "rtx-blackwell"],
                        choices=[name for name in TARGETS if name.startswith("rtx")])  # fmt: skip
    parser.add_argument("--flavour", choices=("native", "decomposed"), default="native")
    parser.add_argument("--python", help="an interpreter that has the bindings (default: this)")
    options = parser.parse_args()
    try:
        installed = find_library("tensorrt_rtx", interpreter(options.python, "tensorrt_rtx"))
    except OmnijetError as error:
        print(error, file=sys.stderr)
        return 2
    print(machine())
    kept = Kept(options.scratch / "cells.jsonl")
    for precision in options.precisions:
        folder = getattr(options, precision) or exported(options, precision)
        build_cells(options, precision, folder, installed, kept)
    Console(width=160).print(table_of(kept.verdicts))
    return int(any(unexpected(cell, of) for cell, of in kept.verdicts.items()))


def exported(options: argparse.Namespace, precision: str) -> Path:
    """Returns the preset's bundle; exports it if it does not exist."""
    source, bundle = options.scratch / "checkpoint", options.scratch / precision
    if not bundle.exists():
        if not source.exists():
            omnijet("synthesize", options.preset, source)
        omnijet("export", source, bundle, "--dtype", precision)
    return bundle


def omnijet(*command: str | Path) -> None:
    """Runs an `omnijet` command; raises `SystemExit` if it fails."""
    print("$ omnijet", *command, file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, "-m", "omnijet", *map(str, command)], cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"failed with exit code {done.returncode}")


def build_cells(
    options: argparse.Namespace, precision: str, folder: Path, installed: Installed, kept: Kept
) -> None:
    """Builds all cells without a kept verdict."""
    manifest = Manifest.read(folder)
    for graph in options.graphs or manifest.graphs:
        for kind in kinds_asked(options, precision, graph):
            cells = [
                cell
                for target in options.targets
                if (cell := Cell(precision, graph, kind, target, options.flavour))
                not in kept.verdicts
            ]
            for cell, verdict in verdicts_on(cells, folder, manifest, installed, options.scratch):
                kept.add(cell, verdict)
                print(*asdict(cell).values(), text_of(cell, verdict),
                      *map(str, verdict.get("said", ())), file=sys.stderr, flush=True)  # fmt: skip


def kinds_asked(options: argparse.Namespace, precision: str, graph: str) -> list[str]:
    """Returns the kinds of quantization to build for a graph.

    Quantized bf16 differs from quantized f16 only in the floats between products, which the
    unquantized graph has, too.
    """
    if precision == "bf16":
        return [] if graph in WIDE or "none" not in options.kinds else ["none"]
    return [kind for kind in options.kinds if kind in kinds_of(graph)]


def verdicts_on(
    cells: list[Cell], folder: Path, manifest: Manifest, installed: Installed, scratch: Path
) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Yields a verdict for each target of one graph and kind; equal capacities share a lowering."""
    capacities = {cell: TARGETS[cell.target].limits["capacity"] for cell in cells}
    for capacity in dict.fromkeys(capacities.values()):
        first, *_ = cells = [cell for cell in capacities if capacities[cell] == capacity]
        contract = manifest.contracts[first.graph]
        with tempfile.TemporaryDirectory(prefix="cell-", dir=scratch) as work:
            source = folder / manifest.graphs[first.graph].file
            path = lowered(source, contract, first.kind, Path(work), first.flavour, capacity)
            predicted = predicted_bytes(WeightBytes.of(path), installed.library)
            for cell in cells:
                target = TARGETS[cell.target]
                assert target.compute_capability is not None
                profiles = profiles_for(
                    contract, target.limits, installed.library, block_of(manifest.dims)
                )
                try:
                    verdict = build(path, profiles, contract, target.compute_capability, installed)
                except Died as died:
                    verdict = {
                        "done": False,
                        "stage": f"died of {died.signal}",
                        "said": [str(died)],
                    }
                yield cell, verdict | {"predicted_bytes": predicted}


def unexpected(cell: Cell, verdict: Mapping[str, Any]) -> bool:
    capability = TARGETS[cell.target].compute_capability
    assert capability is not None
    return bool(verdict["done"]) != must_build(cell.kind, capability)


def text_of(cell: Cell, verdict: Mapping[str, Any]) -> str:
    wrong = " (unexpected)" if unexpected(cell, verdict) else ""
    if not verdict["done"]:
        return f"refused by the {verdict['stage']}{wrong}"
    return f"{verdict['seconds']:.0f} s{wrong}"


def table_of(verdicts: Mapping[Cell, Mapping[str, Any]]) -> Table:
    """Returns a table with a row per graph and kind.

    Memory, size and layers are the largest of all targets.
    """
    targets = sorted({cell.target for cell in verdicts}, key=list(TARGETS).index)
    table = Table(
        "graph", "form", *(f"SM{TARGETS[target].compute_capability}" for target in targets),
        "peak memory", "predicted", "engine", "layers", box=box.MARKDOWN,
    )  # fmt: skip
    rows: dict[tuple[str, str], dict[str, tuple[Cell, Mapping[str, Any]]]] = {}
    for cell, verdict in verdicts.items():
        precision = "f32" if cell.graph in WIDE else cell.precision
        form = precision if cell.kind == "none" else f"{precision}, {cell.kind}"
        form += "" if cell.flavour == "native" else f", {cell.flavour}"
        rows.setdefault((cell.graph, form), {})[cell.target] = cell, verdict
    for names, cells in rows.items():
        built = [verdict for _, verdict in cells.values() if verdict["done"]]

        def most(fact: str, of: list[Mapping[str, Any]] = built) -> int:
            return max((verdict[fact] for verdict in of), default=0)

        table.add_row(
            *names,
            *(text_of(*cells[target]) if target in cells else "" for target in targets),
            *(size_text(most(fact)) for fact in ("peak_bytes", "predicted_bytes", "bytes")),
            f"{most('layers'):,}",
        )
    return table


if __name__ == "__main__":
    raise SystemExit(main())
