"""Weights that large activations meet, scaled up before they are rounded."""

from __future__ import annotations

import numpy as np

from quantization.divisor import balanced
from quantization.rounding import round_blocks
from quantization.schemes import WeightOnly
from quantization.statistics import Statistics, condensed
from runtime.contract import Array

STEPS = 20
SEARCHED = 1 << 21  # weights that are rounded for each exponent
RATIO = 1e-4  # features quieter than this part of the mean count as this loud


def awq_divisor(weights: Array, stats: Statistics, scheme: WeightOnly) -> Array | None:
    """f32[inputs], or None if no exponent beats plain rounding on the sample.

    Source: AWQ (Lin et al. 2023, arXiv:2306.00978), section 3.2: absmean ** alpha, alpha from 0
    to 1, by squared error of the output. The paper's clipping is the rounding's own search of
    ranges. Of a large layer every n-th output is searched.

    Args:
        weights: f32[inputs, outputs of all layers that share the activation].
    """
    rows = condensed(stats.sample)
    every = max(1, weights.size // SEARCHED)
    weights = np.ascontiguousarray(weights[:, ::every], dtype=np.float32)
    best, least = None, _output_error(rows, weights, None, scheme)
    for step in range(1, STEPS + 1):
        divisor = scaling(stats, step / STEPS)
        error = _output_error(rows, weights, divisor, scheme)
        if error < least:
            best, least = divisor, error
    return best


def scaling(stats: Statistics, exponent: float) -> Array:
    """f32[inputs]: absmean ** exponent."""
    loudness = stats.absmean
    live = loudness > 0
    quietest = RATIO * float(loudness.mean())
    return balanced(np.maximum(loudness, quietest) ** exponent, live, stats.absmax)


def _output_error(rows: Array, weights: Array, divisor: Array | None, scheme: WeightOnly) -> float:
    scaled = weights if divisor is None else weights * divisor[:, None]
    rounded = round_blocks(scaled, scheme).dequantized()
    if divisor is not None:
        rounded /= divisor[:, None]
    difference = rows @ (rounded - weights)
    return float(np.vdot(difference, difference))
