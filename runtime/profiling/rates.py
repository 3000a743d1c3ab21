"""How fast this machine reads and multiplies: measured, not taken from a data sheet."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

SMALLEST_READ, LARGEST_READ = 1 << 16, 256 << 20  # bytes: the largest is beyond most caches
SIDE = 1024  # of the square matrices
REPEATS = 5


@dataclass(slots=True)
class Rates:
    """Of a machine with so many threads; what was measured once is kept, so that all floors
    of a profile stand on the same numbers.

    Attributes:
        matmul_per_s: floating-point operations a second of f32 matrix products.
    """

    threads: int
    matmul_per_s: float
    _reads: dict[int, float] = field(default_factory=dict)

    @staticmethod
    def measure(threads: int) -> Rates:
        """Takes a fraction of a second."""
        return Rates(threads, matmul_peak(threads))

    def read_per_s(self, size: float) -> float:
        """Bytes a second read from a working set of `size` bytes, to the next power of two."""
        wide = 1 << max(int(size) - 1, 1).bit_length()
        wide = max(min(wide, LARGEST_READ), SMALLEST_READ)
        if wide not in self._reads:
            self._reads[wide] = read_bandwidth(wide, self.threads)
        return self._reads[wide]


def read_bandwidth(size: int, threads: int) -> float:
    """Bytes a second read from a working set of `size` bytes (a small one stays in cache, as a
    small model's weights do)."""
    threads = min(threads, os.cpu_count() or 1)
    parts = [np.ones(size // threads // 4, np.float32) for _ in range(threads)]
    passes = max(1, (64 << 20) // size)  # so that starting a thread does not count

    def read(part: object) -> None:
        assert isinstance(part, np.ndarray)
        for _ in range(passes):
            part.max()

    return passes * size / _best(lambda pool: list(pool.map(read, parts)), threads)


def matmul_peak(threads: int) -> float:
    """Floating-point operations a second of f32 matrix products with numpy's BLAS: with
    its own threads, or one product a thread, whichever is faster. Of fewer threads than cores
    it is their share of that."""
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
    """Seconds of the quickest of some repeats."""
    times = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(REPEATS):
            began = perf_counter()
            work(pool)
            times.append(perf_counter() - began)
    return min(times)
