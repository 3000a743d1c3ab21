"""Counts magnitudes in even bins; the range grows by doubling."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from omnijet.runtime.bundle.contract import Array

LOG_BINS = 14
BINS = 1 << LOG_BINS
LOWEST = -100  # 2**-100 counts as zero, and 2**(14 + 100) is finite in f32


@dataclass(slots=True)
class Histogram:
    """Counts of magnitudes that do not depend on the order of updates.

    Bins and range are powers of two: each number falls into exactly one bin, and two bins become
    one when the range doubles.

    Attributes:
        exponent: bins cover 0 to 2**exponent; all numbers so far are smaller.
        counts: i64[BINS].
    """

    exponent: int = LOWEST
    counts: Array = field(default_factory=lambda: np.zeros(BINS, np.int64))

    @property
    def bin_width(self) -> float:
        return math.ldexp(1.0, self.exponent - LOG_BINS)

    @property
    def used(self) -> int:
        """Number of bins up to the last that is not empty."""
        filled = np.flatnonzero(self.counts)
        return int(filled[-1]) + 1 if len(filled) else 0

    def add(self, magnitudes: Array) -> None:
        """Adds f32[...], finite and not negative."""
        self._reach(math.frexp(float(magnitudes.max(initial=0)))[1] if magnitudes.any() else LOWEST)
        scaled = magnitudes * np.float32(math.ldexp(1.0, LOG_BINS - self.exponent))
        self.counts += np.bincount(scaled.astype(np.intp).ravel(), minlength=BINS)

    def merge(self, other: Histogram) -> None:
        self._reach(other.exponent)
        grown = Histogram(other.exponent, other.counts.copy())
        grown._reach(self.exponent)
        self.counts += grown.counts

    def _reach(self, exponent: int) -> None:
        shift = min(exponent - self.exponent, LOG_BINS)
        if shift <= 0:
            return
        joined = self.counts.reshape(-1, 1 << shift).sum(axis=1)
        self.counts[:] = 0
        self.counts[: len(joined)] = joined
        self.exponent = exponent
