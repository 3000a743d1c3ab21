"""`python -m tools.bench.encoders BUNDLE...`: the encoders at their real dimensions, beside
transformers in the same run.

Each figure is measured in a process of its own, so that the peak of its memory is that of one
encoder and one input. A bundle runs with the graphs that `omnijet build BUNDLE --target cpu` made,
if it has them, as for a user. Transformers computes in f32 with random weights of the same shapes.
The floor is what the products take at the rate of this machine's f32 matrix product: quantized
graphs may be faster. With both bundles of the 3B it takes about ten minutes and 8 GB of memory.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.media.image import smart_resize
from omnijet.runtime.profiling import workload
from omnijet.runtime.profiling.machine import machine
from omnijet.runtime.profiling.rates import Rates
from tools.bench.encoders_child import FRAMES_PER_SECOND, Job, Measured

PEER = "transformers"
CHILD = "tools.bench.encoders_child"


@dataclass(frozen=True, slots=True)
class Work:
    """A picture or clip, given in (steps, height, width) of patches; or a sound, in mel frames."""

    name: str
    grid: tuple[int, int, int] | None = None
    frames: int = 0


def works(options: argparse.Namespace, bundle: Bundle) -> list[Work]:
    """Returns the inputs that were asked for; pictures have the size that the model sees."""
    rules = Preprocessing.from_json(bundle.manifest.preprocessor)
    found = []
    for text in [*options.pictures, *options.clips]:
        *steps, width, height = map(int, text.split("x"))
        size = smart_resize(
            height, width, rules.factor, rules.image_min_pixels, rules.image_max_pixels
        )
        grid = size[0] // rules.patch, size[1] // rules.patch
        kind, count = ("clip", steps[0]) if steps else ("picture", 1)
        patches = count * grid[0] * grid[1]
        found.append(Work(f"{kind} {text}, {patches:,} patches", (count, *grid)))
    for seconds in options.sounds:
        found.append(Work(f"sound of {seconds:g} s", frames=round(seconds * FRAMES_PER_SECOND)))
    return found


def floor_of(work: Work, bundle: Bundle, rates: Rates) -> float:
    """Returns the seconds that the products take at the machine's rate."""
    manifest = bundle.manifest
    if work.grid is not None:
        cost = workload.vision_encoder(manifest, manifest.dims.vision, [work.grid])
    else:
        cost = workload.audio_encoder(manifest, manifest.dims.audio, [work.frames])
    return cost.operations / rates.matmul_per_s


def measured(work: Work, folder: Path | None, options: argparse.Namespace) -> Measured | str:
    """Measures in a process of its own; returns why there is no figure if it fails."""
    job = Job(
        folder=None if folder is None else str(folder),
        preset=options.preset,
        grid=work.grid,
        frames=work.frames,
        threads=options.threads,
        rounds=options.rounds,
    )
    done = subprocess.run(
        [sys.executable, "-m", CHILD], input=json.dumps(asdict(job)), capture_output=True, text=True
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        return f"failed ({done.returncode}): {said[-1][:60] if said else 'killed'}"
    return Measured(**json.loads(done.stdout.strip().splitlines()[-1]))


def add_rows(table: Table, work: Work, floor: float, found: dict[str, Measured | str]) -> None:
    peer = found.get(PEER)
    for name, one in found.items():
        if isinstance(one, str):
            table.add_row(work.name, name, one)
            continue
        ratio = ""
        if isinstance(peer, Measured) and name != PEER:
            ratio = f"{peer.seconds / one.seconds:.2f}"
        table.add_row(
            work.name, name, f"{one.seconds:.3g}", f"{floor:.3g}", f"{one.seconds / floor:.2f} x",
            ratio, f"{one.peak / 1e9:.2f}", f"{one.loaded / 1e9:.2f}", f"{one.mapped / 1e9:.2f}",
            f"{one.load_seconds:.2f}",
        )  # fmt: skip


def name_of(folder: Path, bundle: Bundle) -> str:
    built = " (built)" if bundle.manifest.engines.get("cpu") else ""
    return f"{folder.name}{built}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench.encoders", description=(__doc__ or "").partition("\n\n")[0]
    )
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE")
    parser.add_argument("--preset", default="3b", help="the dimensions of transformers' encoders")
    parser.add_argument("--pictures", nargs="*", default=["448x448", "1920x1080"], type=_size)
    parser.add_argument(
        "--clips",
        nargs="*",
        default=["8x448x224"],
        type=_clip,
        help="steps of two frames each, width and height",
    )
    parser.add_argument("--sounds", nargs="*", default=[5.0, 30.0], type=float, metavar="SECONDS")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2, help="runs; the quickest counts")
    parser.add_argument("--no-peer", action="store_true", help="leave transformers out")
    options = parser.parse_args(arguments)
    bundles = {folder: Bundle.open(folder) for folder in options.bundles}
    first = next(iter(bundles.values()))
    rates = Rates.measure(options.threads)
    console = Console(width=160)
    console.print(f"{machine()}; {options.threads} threads, "
                  f"f32 product {rates.matmul_per_s / 1e9:.0f} GFLOP/s")  # fmt: skip
    table = Table(
        "work", "who", "seconds", "floor", "of the floor", "times as fast",
        "peak GB", "loaded GB", "of files", "load s",
    )  # fmt: skip
    for work in works(options, first):
        found = {
            name_of(folder, bundle): measured(work, folder, options)
            for folder, bundle in bundles.items()
        }
        if not options.no_peer:
            found[PEER] = measured(work, None, options)
        add_rows(table, work, floor_of(work, first, rates), found)
    console.print(table)
    return 0


def _size(text: str) -> str:
    return _sized(text, "1920x1080")


def _clip(text: str) -> str:
    return _sized(text, "8x448x224")


def _sized(text: str, like: str) -> str:
    """Checks numbers between which there is an x."""
    if re.fullmatch("x".join([r"[1-9]\d{0,4}"] * len(like.split("x"))), text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as {like}")
    return text


if __name__ == "__main__":
    raise SystemExit(main())
