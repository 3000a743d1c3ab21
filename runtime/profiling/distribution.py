"""Histograms that are small enough to be kept in a profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST_BINS, MOST_BINS = 8, 40
REACH = 3  # times the median: bins end there, so that one hiccup does not squeeze the others


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of samples from `edges[i]` to `edges[i + 1]`, in the samples' unit.

    Attributes:
        edges: len(counts) + 1 evenly spaced values, ascending.
        above: number of samples beyond the last edge.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    above: int

    @staticmethod
    def of(samples: Sequence[float]) -> Histogram:
        """Counts at least one sample in bins.

        The bins start at the smallest sample and end at the largest, or at three medians if
        that is less.
        """
        assert samples, "no samples"
        values = np.asarray(samples, np.float64)
        low = float(values.min())
        high = min(float(values.max()), REACH * float(np.median(values)))
        if high <= low:
            high = low + max(abs(low), 1.0) * 1e-3  # equal samples: one narrow bin holds them
        bins = min(max(int(2 * values.size**0.5), FEWEST_BINS), MOST_BINS)
        counts, edges = np.histogram(values, bins, (low, high))
        shown = int(counts.sum())
        return Histogram(
            tuple(float(edge) for edge in edges),
            tuple(int(count) for count in counts),
            values.size - shown,
        )
