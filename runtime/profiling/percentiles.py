"""Percentiles over runs or steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of `count` samples, in their unit. With few samples p99 is close to the largest."""

    count: int
    least: float
    p50: float
    p90: float
    p99: float
    most: float

    @staticmethod
    def of(samples: Sequence[float]) -> Percentiles:
        """Linear interpolation between the samples; at least one is needed."""
        assert samples, "no samples"
        values = np.percentile(np.asarray(samples, np.float64), (0, 50, 90, 99, 100))
        return Percentiles(len(samples), *(float(value) for value in values))
