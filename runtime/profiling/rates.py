"""Measures how fast this machine reads memory and multiplies matrices."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

SMALLEST_READ, LARGEST_READ = 1 << 16, 256 << 20  # bytes; the largest exceeds most caches
SIDE = 1024  # rows of the square matrices
REPEATS = 5


@dataclass(slots=True)
class Rates:
    """Measured rates of this machine with a number of threads.

    Measurements are kept, so that all floors of a profile use the same numbers.

    Attributes:
        matmul_per_s: floating-point operations per second of f32 matrix products.
    """

    threads: int
    matmul_per_s: float
    _reads: dict[int, float] = field(default_factory=dict)

    @staticmethod
    def measure(threads: int) -> Rates:
        """Measures the rate of matrix products, in a fraction of a second."""
        return Rates(threads, matmul_peak(threads))

    def read_per_s(self, size: float) -> float:
        """Returns the bytes per second read from `size` bytes, rounded up to a power of two."""
        wide = 1 << max(int(size) - 1, 1).bit_length()
        wide = max(min(wide, LARGEST_READ), SMALLEST_READ)
        if wide not in self._reads:
            self._reads[wide] = read_bandwidth(wide, self.threads)
        return self._reads[wide]


def read_bandwidth(size: int, threads: int) -> float:
    """Measures the bytes per second read from a working set of `size` bytes.

    A small working set stays in the cache, like the weights of a small model.
    """
    threads = min(threads, os.cpu_count() or 1)
    parts = [np.ones(size // threads // 4, np.float32) for _ in range(threads)]
    passes = max(1, (64 << 20) // size)  # enough that the start of a thread does not count

    def read(part: object) -> None:
        assert isinstance(part, np.ndarray)
        for _ in range(passes):
            part.max()

    return passes * size / _best(lambda pool: list(pool.map(read, parts)), threads)


def matmul_peak(threads: int) -> float:
    """Measures the floating-point operations per second of f32 products with numpy's BLAS.

    The faster counts: BLAS with its own threads, or one product per thread. Fewer threads than
    cores get their share of that.
    """
    cores = os.cpu_count() or 1
    wanted, threads = threads, cores
    matrices = [np.ones((SIDE, SIDE), np.float32) for _ in range(threads)]

    def multiply(matrix: object) -> None:
        assert isinstance(matrix, np.ndarray)
        matrix @ matrix

    alone = _best(lambda pool: multiply(matrices[0]), 1)
    together = _best(lambda pool: list(pool.map(multiply, matrices)), threads) / threads
    return 2 * SIDE**3 / min(alone, together) * min(wanted / cores, 1.0)


def _best(work: Callable[[ThreadPoolExecutor], object], threads: int) -> float:
    """Returns the seconds of the fastest of `REPEATS` repeats."""
    times = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(REPEATS):
            began = perf_counter()
            work(pool)
            times.append(perf_counter() - began)
    return min(times)
