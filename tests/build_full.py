"""`python -m tests.build_full`: engines of a synthetic checkpoint of full size, outside CI.

Exports it as f16, quantizes that by recipes and builds every graph, one after the other, with
TensorRT-RTX for a GPU that this machine need not have. Prints time, peak memory, size and layers
of each. The 3B takes some 60 GB of disk and 16 GB of memory; calibrating orin-int8 and ada-fp8
takes hours on a CPU, so that by default weights alone are quantized.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from quantization.recipes import RECIPES
from runtime.commands.console import size_text
from runtime.profiling.machine import machine
from tests.quantization.few import few_conversations

ROOT = Path(__file__).parent.parent
FLOAT = "f16"
WEIGHTS_ALONE = "orin-int4"
KINDS_OF_CONVERSATION = 4


def omnijet(*command: str | Path) -> str:
    """What it says on stdout. Raises `SystemExit` if it fails."""
    print("$ omnijet", *command, file=sys.stderr, flush=True)
    words = [sys.executable, "-m", "omnijet", *map(str, command)]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"failed with exit code {done.returncode}")
    return done.stdout


def quantized(bundle: Path, recipe: str) -> Path:
    """A bundle of this recipe beside it, calibrated on as little as will do."""
    out = bundle.with_name(f"{bundle.name}-{recipe}")
    data: str | Path = "none"
    with tempfile.TemporaryDirectory(prefix="omnijet-") as scratch:
        if recipe != WEIGHTS_ALONE:
            data = few_conversations(Path(scratch), KINDS_OF_CONVERSATION)
        omnijet("quantize", bundle, out, "--recipe", recipe, "--data", data)
    return out


def build(bundle: Path, target: str, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    command = ["build", bundle, "--target", target, "--format", "json"]
    if options.python:
        command += ["--python", options.python]
    if options.graphs:
        command += ["--graphs", *options.graphs]
    facts: dict[str, dict[str, Any]] = json.loads(omnijet(*command))
    return facts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("preset", nargs="?", default="3b", help="see `omnijet synthesize --help`")
    parser.add_argument("--bundle", type=Path, help="an f16 bundle, in place of a preset")
    parser.add_argument("--scratch", type=Path, default=ROOT / "build" / "build-full")
    parser.add_argument("--targets", nargs="+", default=["rtx-ampere"])
    parser.add_argument("--forms", nargs="+", default=[FLOAT, WEIGHTS_ALONE],
                        choices=[FLOAT, *RECIPES])  # fmt: skip
    parser.add_argument("--graphs", nargs="+")
    parser.add_argument("--python", help="an interpreter that has the bindings")
    options = parser.parse_args()
    print(machine())
    shutil.rmtree(options.scratch, ignore_errors=True)
    options.scratch.mkdir(parents=True)
    try:
        print_forms(options)
    finally:
        shutil.rmtree(options.scratch)
    return 0


def print_forms(options: argparse.Namespace) -> None:
    source, bundle = options.scratch / "checkpoint", options.scratch / "bundle"
    if options.bundle is None:
        omnijet("synthesize", options.preset, source)
        omnijet("export", source, bundle, "--dtype", FLOAT)
        shutil.rmtree(source)
    else:
        shutil.copytree(options.bundle, bundle)
    table = Table(
        "form", "target", "graph", "seconds", "peak memory", "predicted", "engine", "layers"
    )
    for form in options.forms:
        made = bundle if form == FLOAT else quantized(bundle, form)
        for target in options.targets:
            for graph, facts in build(made, target, options).items():
                table.add_row(
                    form, target, graph, f"{facts['build_seconds']:.1f}",
                    size_text(facts["peak_bytes"]), size_text(facts["predicted_bytes"]),
                    size_text(facts["bytes"]), str(facts["layers"]),
                )  # fmt: skip
        if made != bundle:
            shutil.rmtree(made)
    Console(width=120).print(table)


if __name__ == "__main__":
    raise SystemExit(main())
