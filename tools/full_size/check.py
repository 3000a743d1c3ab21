"""`make check-full`: the whole kit on synthetic checkpoints of the 3B's and the 7B's size.

For each size the program writes the checkpoint, exports it as f16, verifies the bundle, and runs
its largest graphs once. It prints time and peak memory of every step beside its limit; the exit
code is 1 if a limit is exceeded.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from omnijet.runtime.profiling.machine import machine

ROOT = Path(__file__).parents[2]
LIMIT_GB = 2.0
EXPORT_SECONDS = {"3b": 300, "7b": 600}
NEEDED_GB = {"3b": 26, "7b": 50}
# the probes of each preset; the 7B's Thinker alone has 13 GB of weights
PROBES = {"3b": ("speech", "sight", "thinker"), "7b": ("speech",)}


@dataclass(frozen=True, slots=True)
class Step:
    """The time and the memory of one process."""

    name: str
    seconds: float
    peak_gb: float
    limit_seconds: float | None = None
    limit_gb: float | None = None

    @property
    def passed(self) -> bool:
        return (self.limit_seconds is None or self.seconds <= self.limit_seconds) and (
            self.limit_gb is None or self.peak_gb <= self.limit_gb
        )


def measure(name: str, *command: str | Path, **limits: float) -> Step:
    """Runs a Python command and samples its memory, with that of its children."""
    print(f"$ {' '.join(str(part) for part in command)}", flush=True)
    began = time.monotonic()
    process = psutil.Popen([sys.executable, *map(str, command)], cwd=ROOT)
    peak = 0
    while process.poll() is None:
        peak = max(peak, _resident(process))
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"{name} failed with exit code {process.returncode}")
    return Step(name, time.monotonic() - began, peak / 1e9, **limits)


def _resident(process: psutil.Process) -> int:
    """Returns the resident bytes of a process and all its children."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += one.memory_info().rss
    return total


def check(preset: str, scratch: Path) -> bool:
    """Runs all steps of one size and returns whether every limit holds."""
    free = shutil.disk_usage(scratch).free / 1e9
    if free < NEEDED_GB[preset]:
        raise SystemExit(f"{preset} needs {NEEDED_GB[preset]} GB of disk, {free:.0f} GB are free")
    source, bundle = scratch / f"{preset}-checkpoint", scratch / f"{preset}-bundle"
    omnijet = ("-m", "omnijet")
    steps = [
        measure("synthesize", *omnijet, "synthesize", preset, source),
        measure(
            "export f16", *omnijet, "export", source, bundle, "--dtype", "f16",
            limit_seconds=EXPORT_SECONDS[preset], limit_gb=LIMIT_GB,
        ),
        measure("check", *omnijet, "check", bundle),
        *(
            measure(f"run {probe}", "-m", "tools.full_size.probe", bundle, probe)
            for probe in PROBES[preset]
        ),
    ]  # fmt: skip
    table = Table("step", "seconds", "limit", "peak GB", "limit", "", title=preset)
    for step in steps:
        limits = [
            "" if limit is None else f"{limit:g}" for limit in (step.limit_seconds, step.limit_gb)
        ]
        seconds, peak = f"{step.seconds:.1f}", f"{step.peak_gb:.2f}"
        table.add_row(step.name, seconds, limits[0], peak, limits[1], "" if step.passed else "OVER")
    Console(width=100).print(table)
    before = sum(file.stat().st_size for file in source.glob("*.safetensors"))
    after = sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file())
    print(f"checkpoint {before / 1e9:.3f} GB, bundle {after / 1e9:.3f} GB")
    return all(step.passed for step in steps) and after <= before


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.full_size.check", description=__doc__)
    parser.add_argument("presets", nargs="*", default=["3b", "7b"], help="3b, 7b or both")
    parser.add_argument("--scratch", type=Path, default=ROOT / "build" / "check-full")
    args = parser.parse_args()
    print(machine())
    passed = True
    for preset in args.presets:
        shutil.rmtree(args.scratch, ignore_errors=True)
        args.scratch.mkdir(parents=True)
        try:
            passed &= check(preset, args.scratch)
        finally:
            shutil.rmtree(args.scratch)
    print("PASSED" if passed else "FAILED")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
