"""Chooses the range of an activation from a histogram of magnitudes."""

from __future__ import annotations

import numpy as np

from omnijet.quantization.numerics.histogram import Histogram
from omnijet.quantization.numerics.rounding import LARGEST, on_grid
from omnijet.quantization.schemes import EightBits
from omnijet.runtime.bundle.contract import Array

PERCENTILE = 99.99
FINE_BINS = 2048  # with more bins, entropy would compare noise of nearly empty ones
LEVELS = 128  # a range of fewer bins shows no rounding
TRIES = 128


def percentile_range(histogram: Histogram) -> float:
    """Returns the upper edge of the bin below which `PERCENTILE` percent of all magnitudes lie."""
    reached = np.cumsum(histogram.counts)
    index = int(np.searchsorted(reached, reached[-1] * (PERCENTILE / 100)))
    return (index + 1) * histogram.bin_width


def mse_range(histogram: Histogram, dtype: EightBits) -> float:
    """Returns the range of least squared error from rounding and clipping."""
    used = histogram.used
    counts = histogram.counts[:used].astype(np.float64)
    centres = np.arange(used) + 0.5

    def error(reach: int) -> float:
        step = reach / LARGEST[dtype]
        kept = _on_grid(centres / step, dtype).astype(np.float64) * step
        return float(counts @ (kept - centres) ** 2)

    return min(_reaches(used), key=error) * histogram.bin_width


def entropy_range(histogram: Histogram, dtype: EightBits) -> float:
    """Returns the range of least Kullback-Leibler divergence between original and rounded values.

    Source: TensorRT's entropy calibration (Migacz, "8-bit inference with TensorRT", GTC 2017), as
    in ModelOpt's `_compute_amax_entropy`; levels are those of the dtype.
    """
    width = 1
    while histogram.used > FINE_BINS * width:
        width *= 2
    counts = histogram.counts.reshape(-1, width).sum(axis=1).astype(np.float64)
    used = -(-histogram.used // width)
    counts[0] = counts[1]  # zeros are exact in any range: they must not outweigh the rest
    # the widest of equal ranges clips least
    tries = _reaches(used)[::-1]
    best = min(tries, key=lambda reach: _divergence(counts[:used], reach, dtype))
    return best * width * histogram.bin_width


def _divergence(counts: Array, reach: int, dtype: EightBits) -> float:
    """Returns KL(counts clipped into `reach` bins || the same spread evenly within each level)."""
    inside, seen = counts[:reach], counts[:reach].copy()
    seen[-1] += counts[reach:].sum()
    if inside[-1] == 0 and seen[-1] > 0:
        return np.inf
    centres = np.arange(reach) + 0.5
    level = _on_grid(centres * (LARGEST[dtype] / reach), dtype).view(np.uint8)
    live = inside > 0
    total = np.bincount(level, inside, minlength=256)
    bins = np.bincount(level, live, minlength=256)
    kept = np.where(live, (total / np.maximum(bins, 1))[level], 0)
    p, q = seen[live] / seen.sum(), kept[live] / kept.sum()
    return float(p @ np.log(p / q))


def _on_grid(scaled: Array, dtype: EightBits) -> Array:
    return on_grid(scaled.astype(np.float32), dtype)


def _reaches(used: int) -> list[int]:
    """Returns the numbers of bins that are tried as the range, ascending to all used bins."""
    tries = np.geomspace(min(LEVELS, used), used, TRIES)
    return [int(reach) for reach in np.unique(np.rint(tries))]
