"""`make gpu-check`: every check that needs a GPU.

    pip install "omnijet[gpu]"            # cuda-python; with a CUDA 12 driver also "cuda-python<13"
    pip install onnxruntime-gpu           # in place of onnxruntime, for its providers
    pip install tensorrt                  # or a Jetson's own; or tensorrt_rtx_cu13_{libs,bindings}
    make gpu-check

Each installed library is checked: parity of each graph with the CPU, the questions of `make demo`,
the profiler, and `omnijet bench` at the dimensions of the 3B. The table is written to
build/gpu-check/table.md, and all output to log.txt beside it. A device without torch needs bundles
that were exported elsewhere (--nano-bundle, --full-bundle); engines are built into them. A device
whose onnxruntime is too old for the graphs (Python 3.10) also needs their outputs: write them
elsewhere with `python -m tools.gpu_check.parity BUNDLE --write FOLDER`; give --reference FOLDER.

Without a GPU the program prints the reason and exits with 0; the exit code is 1 if a part failed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from omnijet.runtime.backends.ort_installed import reads_graphs
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.profiling.machine import machine
from tools.gpu_check.parity import NO_REFERENCE
from tools.gpu_check.parts import Part, full_parts, nano_parts, run_all
from tools.gpu_check.report import markdown
from tools.gpu_check.ways import ROOT, Way, find_gpu, ways

NEEDED_GB = 40  # disk, of a synthetic 3B, its bundles and engines


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.gpu_check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--scratch", type=Path, default=ROOT / "build" / "gpu-check")
    parser.add_argument("--target", help="the target to build engines for; default: the nearest")
    parser.add_argument(
        "--recipe", help="the recipe to quantize the 3B by: f16 does not fit every GPU"
    )
    parser.add_argument("--nano", action="store_true", help="skip the 3B")
    parser.add_argument("--nano-bundle", type=Path, help="Omnijet-nano in f16, exported elsewhere")
    parser.add_argument("--reference", type=Path, help="outputs of its graphs, written elsewhere")
    parser.add_argument(
        "--full-bundle", type=Path, help="a bundle of the 3B's size, exported elsewhere"
    )
    args = parser.parse_args()
    try:
        gpu = find_gpu()
    except OmnijetError as error:
        print(f"there is a driver, and no way to use it: {error}", file=sys.stderr)
        return 2
    if isinstance(gpu, str):
        print(f"SKIPPED: {gpu}")
        return 0
    facts, memory_gb = gpu
    found = ways(facts, memory_gb, args.target)
    if not found:
        print("there is a GPU, and nothing that runs on it: see `python -m tools.gpu_check --help`",
              file=sys.stderr)  # fmt: skip
        return 2
    scratch = args.scratch.resolve() / f"run-{int(time.time())}"
    scratch.mkdir(parents=True)
    log = scratch.parent / "log.txt"
    log.unlink(missing_ok=True)
    try:
        outcomes = run_all(_parts(args, scratch, found), log)
    finally:
        shutil.rmtree(scratch)
    kind = "shared memory" if facts.integrated else "its own memory"
    title = f"{facts.name}, SM{facts.compute_capability}, {memory_gb:.0f} GB ({kind}); {machine()}"
    text = markdown(title, outcomes)
    (scratch.parent / "table.md").write_text(text, encoding="utf-8")
    print(text)
    failed = [one.part.name for one in outcomes if one.verdict != "passed"]
    print(f"FAILED: {', '.join(failed)}" if failed else "PASSED")
    return 1 if failed else 0


def _parts(args: argparse.Namespace, scratch: Path, found: Sequence[Way]) -> list[Part]:
    """Returns the parts to run, with absolute paths: parts run in the root of the repository."""
    paths = (args.nano_bundle, args.full_bundle, args.reference)
    given, full, reference = (path and path.resolve() for path in paths)
    parts = nano_parts(scratch, found, given, reference)
    if reference is None and not reads_graphs():
        print(f"parity left out: {NO_REFERENCE}")
    if args.nano:
        return parts
    free = shutil.disk_usage(scratch).free / 1e9
    if full is None and free < NEEDED_GB:
        print(f"3B left out: it needs {NEEDED_GB} GB of disk, {free:.0f} GB are free")
        return parts
    return parts + full_parts(scratch, found, args.recipe, full)


if __name__ == "__main__":
    sys.exit(main())
