"""How samples are distributed, small enough to be kept in a profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST_BINS, MOST_BINS = 8, 40
REACH = 3  # times the median: bins end there, as one hiccup would squeeze all others into one


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of samples from `edges[i]` to `edges[i + 1]`, in the samples' unit.

    Attributes:
        edges: len(counts) + 1, rising evenly.
        above: samples beyond the last edge.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    above: int

    @staticmethod
    def of(samples: Sequence[float]) -> Histogram:
        """Bins from the least sample to the largest or three medians, whichever comes first;
        at least one sample is needed."""
        assert samples, "no samples"
        values = np.asarray(samples, np.float64)
        low = float(values.min())
        high = min(float(values.max()), REACH * float(np.median(values)))
        if high <= low:
            high = low + max(abs(low), 1.0) * 1e-3  # all alike: one narrow bin holds them
        bins = min(max(int(2 * values.size**0.5), FEWEST_BINS), MOST_BINS)
        counts, edges = np.histogram(values, bins, (low, high))
        shown = int(counts.sum())
        return Histogram(
            tuple(float(edge) for edge in edges),
            tuple(int(count) for count in counts),
            values.size - shown,
        )
