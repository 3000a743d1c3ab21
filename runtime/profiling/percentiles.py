"""Percentiles over runs or steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Percentiles of `count` samples, in their unit; with few samples p99 is close to `most`."""

    count: int
    least: float
    p50: float
    p90: float
    p99: float
    most: float

    @staticmethod
    def of(samples: Sequence[float]) -> Percentiles:
        """Interpolates linearly between the samples; at least one is needed."""
        assert samples, "no samples"
        values = np.percentile(np.asarray(samples, np.float64), (0, 50, 90, 99, 100))
        return Percentiles(len(samples), *(float(value) for value in values))
