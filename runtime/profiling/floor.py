"""What this machine cannot go below: measured bandwidth and f32 peak, and what they make of
a stage's bytes and operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

import numpy as np

from runtime.dims import DecoderDims, DitDims
from runtime.manifest import Manifest
from runtime.profiling.measure import Result
from runtime.synthesis import speech_preset

LARGEST_READ = 256 << 20  # bytes: beyond most caches, and affordable on 8 GB
SIDE = 1024  # of the square matrices
REPEATS = 5


@dataclass(frozen=True, slots=True)
class Floor:
    """Of one stage.

    Attributes:
        amount: bytes or floating-point operations: of a step where a stage has steps, else of
            the whole stage.
        per_s: what the machine was measured to do.
    """

    kind: Literal["bytes", "operations"]
    amount: float
    per_s: float

    @property
    def reason(self) -> str:
        """Where it comes from, in words."""
        if self.kind == "bytes":
            return f"{self.amount / 1e6:.1f} MB at {self.per_s / 1e9:.1f} GB/s measured"
        return f"{self.amount / 1e9:.2f} GFLOP at {self.per_s / 1e9:.0f} GFLOP/s measured"

    @property
    def floor_us(self) -> float:
        """Microseconds: of a step, or of the whole stage."""
        return 1e6 * self.amount / self.per_s


def read_bandwidth(size: int, threads: int) -> float:
    """Bytes a second read from a working set of `size` bytes (a small one stays in cache, as a
    small model's weights do)."""
    size = max(min(size, LARGEST_READ), 1 << 16)
    parts = [np.ones(size // threads // 4, np.float32) for _ in range(threads)]
    passes = max(1, (64 << 20) // size)  # so that starting a thread does not count

    def read(part: object) -> None:
        assert isinstance(part, np.ndarray)
        for _ in range(passes):
            part.max()

    return passes * size / _best(lambda pool: list(pool.map(read, parts)), threads)


def matmul_peak(threads: int) -> float:
    """Floating-point operations a second of f32 matrix products, numpy's BLAS in as many
    threads."""
    matrices = [np.ones((SIDE, SIDE), np.float32) for _ in range(threads)]

    def multiply(matrix: object) -> None:
        assert isinstance(matrix, np.ndarray)
        matrix @ matrix

    return threads * 2 * SIDE**3 / _best(lambda pool: list(pool.map(multiply, matrices)), threads)


def _best(work: Callable[[ThreadPoolExecutor], object], threads: int) -> float:
    """Seconds of the quickest of some repeats."""
    times = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(REPEATS):
            began = perf_counter()
            work(pool)
            times.append(perf_counter() - began)
    return min(times)


def step_bytes(manifest: Manifest, graph: str, dims: DecoderDims, rows: float) -> float:
    """What one decode step must read: weights, and keys and values of `rows` rows."""
    width = 2 if manifest.precision == "f16" else 4
    cache = 2 * dims.layers * dims.kv_heads * dims.head_dim * rows * width
    return float(manifest.graphs[graph].weight_bytes + cache)


def dit_operations(dims: DitDims, frames: int, evaluations: int) -> float:
    """Of solving the flow for `frames` mel frames with so many evaluations of a branch:
    projections, feed-forward and attention of at least one block. What windows compute
    besides is no part of the floor."""
    linear = 4 * dims.hidden**2 + 2 * dims.ff_mult * dims.hidden**2
    attention = 2 * dims.heads * dims.head_dim * dims.block
    return 2.0 * evaluations * frames * dims.layers * (linear + attention)


def floors(
    manifest: Manifest,
    result: Result,
    threads: int,
    peak: float,
    preset: str,
    bandwidth: Callable[[int, int], float] = read_bandwidth,
) -> dict[str, Floor]:
    """Of each stage of a scenario that has one."""
    dims, found = manifest.dims, {}
    for stage, decoder, rows in (
        ("thinker", dims.thinker, result.prompt_tokens + result.text_tokens / 2),
        ("talker", dims.talker, result.prompt_tokens + result.codes / 2),
    ):
        if f"{stage}_decode" in result.steps:
            size = step_bytes(manifest, f"{stage}_step", decoder, rows)
            found[f"{stage}_decode"] = Floor("bytes", size, bandwidth(int(size), threads))
    if "dit" in result.stages_ms:
        evaluations = speech_preset(preset).solver.branch_evaluations
        operations = dit_operations(dims.dit, result.codes * dims.dit.repeats, evaluations)
        found["dit"] = Floor("operations", operations, peak)
    return found


def stage_floor_ms(stage: str, result: Result, floors: Mapping[str, Floor]) -> float | None:
    """Of all that a stage does in a run; None if it has no floor."""
    floor = floors.get(stage)
    if floor is None:
        return None
    if stage not in result.steps:
        return floor.floor_us / 1e3
    # steps were counted over all runs
    steps = result.steps[stage].total_us.count / result.stages_ms[stage].count
    return steps * floor.floor_us / 1e3
