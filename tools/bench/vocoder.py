"""`python -m tools.bench.vocoder BUNDLE`: the vocoder's forms on this processor, side by side.

Canonical, blocked, with parallel filters, and with narrow convolutions in parts as well (the fused
form). Rounds of all forms alternate, so that other work on the machine meets them alike. The floor
is the multiply-adds of the canonical convolutions at the rate of a large f32 product, which
parallel filters go below, because they multiply less.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any
from unittest.mock import patch

import numpy as np
import onnxruntime
from rich.console import Console
from rich.table import Table

from omnijet.engines.lowering.fused import cpu, parallel_filters, vocoder
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.dims import VocoderDims
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.commands.console import whole_number
from omnijet.runtime.profiling.machine import machine
from omnijet.runtime.profiling.rates import matmul_peak

NEVER = 1 << 30
FORMS: Mapping[str, tuple[int, int]] = {
    "blocked": (NEVER, 0),
    "parallel filters": (parallel_filters.LEAST_CHANNELS, 0),
    "fused": (parallel_filters.LEAST_CHANNELS, vocoder.FEW),
}
"""By form: from how many channels on filters are parallel, and up to how many there are parts."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tools.bench.vocoder")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--frames", type=whole_number(1), default=96)
    parser.add_argument("--threads", type=whole_number(1), default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=whole_number(1), default=5)
    args = parser.parse_args(arguments)
    bundle = Bundle.open(args.bundle)
    with tempfile.TemporaryDirectory() as folder:
        graphs = dict(forms(bundle, Path(folder)))
        print(machine())
        Console(width=110).print(table(graphs, bundle.manifest.dims.vocoder, args))
    return 0


def forms(bundle: Bundle, folder: Path) -> Iterator[tuple[str, Path]]:
    """Yields name and graph file of each form; the fused ones are written to `folder`."""
    source, contract = bundle.graph("vocoder"), bundle.manifest.contracts["vocoder"]
    yield "canonical", source
    for name, (least, few) in FORMS.items():
        with ExitStack() as changed:
            changed.enter_context(patch.object(parallel_filters, "LEAST_CHANNELS", least))
            changed.enter_context(patch.object(vocoder, "FEW", few))
            entry = cpu.lower(source, contract, folder / name, 0, lambda count: None)
        yield name, folder / name / Path(entry.file).name


def table(graphs: Mapping[str, Path], dims: VocoderDims, args: argparse.Namespace) -> Table:
    """Runs all forms and returns what they take."""
    mel = -4 + 2.4 * np.random.default_rng(0).standard_normal((1, dims.mel, args.frames))
    feeds = {"mel": mel.astype(np.float32)}
    sessions = {name: opened(path, args.threads) for name, path in graphs.items()}
    walls: dict[str, list[float]] = {name: [] for name in graphs}
    cores: dict[str, list[float]] = {name: [] for name in graphs}
    waves: dict[str, Array] = {}
    for _ in range(args.rounds + 1):  # the first touches all pages
        for name, session in sessions.items():
            began, spent = perf_counter(), process_time()
            (waves[name],) = session.run(None, feeds)
            walls[name].append(perf_counter() - began)
            cores[name].append(process_time() - spent)
    floor = multiply_adds(dims, args.frames) / (matmul_peak(args.threads) / 2)
    made = Table(
        f"vocoder, {args.frames} mel frames", "ms, median", "least", "CPU ms, least",
        "times the floor", "weights MB", "error of the wave",
    )  # fmt: skip
    for name, path in graphs.items():
        wall = walls[name][1:]
        error = float(np.sqrt(np.mean((waves[name] - waves["canonical"]) ** 2)))
        made.add_row(
            name, f"{1e3 * median(wall):.0f}", f"{1e3 * min(wall):.0f}",
            f"{1e3 * min(cores[name][1:]):.0f}", f"{median(wall) / floor:.2f}",
            f"{path.with_suffix('.weights').stat().st_size / 1e6:.0f}",
            f"{error / float(waves['canonical'].std()):.1e}",
        )  # fmt: skip
    made.add_row("floor", f"{1e3 * floor:.0f}", "", "", "1", "", "")
    return made


def opened(path: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_mem_pattern = False  # as the runtime has it
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def multiply_adds(dims: VocoderDims, frames: int) -> float:
    """Returns those of all convolutions between channels."""
    width, samples = dims.channels, frames
    total = 7.0 * dims.mel * width * samples
    taps = 2 * sum(
        kernel * len(row)
        for kernel, row in zip(dims.resblock_kernels, dims.resblock_dilations, strict=True)
    )
    for rate_, kernel in zip(dims.rates, dims.kernels, strict=True):
        total += kernel * width * (width // 2) * samples
        width, samples = width // 2, samples * rate_
        total += taps * width * width * samples
    return total + 7.0 * width * samples


if __name__ == "__main__":
    sys.exit(main())
