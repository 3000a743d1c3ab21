"""The largest magnitude an activation keeps, chosen from a histogram of magnitudes."""

from __future__ import annotations

import numpy as np

from omnijet.quantization.numerics.histogram import Histogram
from omnijet.quantization.numerics.rounding import LARGEST, on_grid
from omnijet.quantization.schemes import EightBits
from omnijet.runtime.bundle.contract import Array

PERCENTILE = 99.99
FINE_BINS = 2048  # with more, entropy would compare the noise of bins that counted little
LEVELS = 128  # a range of fewer bins has no rounding to see
TRIES = 128


def percentile_range(histogram: Histogram) -> float:
    """Upper edge of the bin that `PERCENTILE` percent of all magnitudes stay within."""
    reached = np.cumsum(histogram.counts)
    index = int(np.searchsorted(reached, reached[-1] * (PERCENTILE / 100)))
    return (index + 1) * histogram.bin_width


def mse_range(histogram: Histogram, dtype: EightBits) -> float:
    """Of least squared error, rounding and clipping together."""
    used = histogram.used
    counts = histogram.counts[:used].astype(np.float64)
    centres = np.arange(used) + 0.5

    def error(reach: int) -> float:
        step = reach / LARGEST[dtype]
        kept = _on_grid(centres / step, dtype).astype(np.float64) * step
        return float(counts @ (kept - centres) ** 2)

    return min(_reaches(used), key=error) * histogram.bin_width


def entropy_range(histogram: Histogram, dtype: EightBits) -> float:
    """Of least Kullback-Leibler divergence of what is kept from what was seen.

    Source: TensorRT's entropy calibration (Migacz, "8-bit inference with TensorRT", GTC 2017)
    as ModelOpt's `_compute_amax_entropy` has it; levels are those of the dtype.
    """
    width = 1
    while histogram.used > FINE_BINS * width:
        width *= 2
    counts = histogram.counts.reshape(-1, width).sum(axis=1).astype(np.float64)
    used = -(-histogram.used // width)
    counts[0] = counts[1]  # zeros are exact at any range: they must not outvote the rest
    # of equals the widest, which clips least
    tries = _reaches(used)[::-1]
    best = min(tries, key=lambda reach: _divergence(counts[:used], reach, dtype))
    return best * width * histogram.bin_width


def _divergence(counts: Array, reach: int, dtype: EightBits) -> float:
    """KL(seen, clipped into the last bin | spread evenly within each level), of `reach` bins."""
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
    """Numbers of bins that are tried as the range, rising to all that are used."""
    tries = np.geomspace(min(LEVELS, used), used, TRIES)
    return [int(reach) for reach in np.unique(np.rint(tries))]
