"""Scales up the weights that large activations meet, then rounds them for these activations."""

from __future__ import annotations

import numpy as np

from omnijet.quantization.numerics.divisor import balanced
from omnijet.quantization.numerics.rounding import TINY, round_blocks
from omnijet.quantization.numerics.statistics import Statistics, condensed
from omnijet.quantization.schemes import Half, WeightScheme
from omnijet.quantization.weights import QuantizedWeight
from omnijet.runtime.bundle.contract import Array

STEPS = 10
SEARCHED = 1 << 20  # most weights that are rounded for each exponent
RATIO = 1e-4  # features quieter than this share of the mean count as this loud


def awq_divisor(weights: Array, stats: Statistics, scheme: WeightScheme) -> Array | None:
    """Returns f32[inputs], or None if no exponent beats plain rounding on the sample.

    Source: AWQ (Lin et al. 2023, arXiv:2306.00978), section 3.2. As in the authors' code, weights
    are part of the search: exponents from 0 to 1, compared by squared error of the output. Only
    every n-th output of a large layer is searched.

    Args:
        weights: f32[inputs, outputs of all layers that share the activation].
    """
    assert scheme.block is not None
    rows = condensed(stats.sample)
    every = max(1, weights.size // SEARCHED)
    weights = np.ascontiguousarray(weights[:, ::every], dtype=np.float32)
    reach = reaches(weights, scheme.block)
    best, least = None, _output_error(rows, weights, None, scheme)
    for step in range(STEPS + 1):
        divisor = scaling(stats, reach, step / STEPS)
        error = _output_error(rows, weights, divisor, scheme)
        if error < least:
            best, least = divisor, error
    return best


def reaches(weights: Array, block: int) -> Array:
    """Returns f32[inputs], 0 to 1: magnitude of an input's weights relative to the largest in their
    blocks, averaged over outputs.
    """
    total: Array = np.zeros(len(weights), np.float32)
    for start in range(0, len(weights), block):
        part = np.abs(weights[start : start + block])
        total[start : start + block] = (part / np.maximum(part.max(axis=0), TINY)).mean(axis=1)
    return total


def scaling(stats: Statistics, reach: Array, exponent: float) -> Array:
    """Returns f32[inputs]: absmean ** exponent / reach ** (1 - exponent)."""
    loudness = stats.absmean
    live = (loudness > 0) & (reach > 0)
    quietest = RATIO * float(loudness.mean())
    heard = np.maximum(loudness, quietest) ** exponent
    return balanced(heard / np.maximum(reach, RATIO) ** (1 - exponent), live, stats.absmax)


def round_scaled(
    weight: Array, sample: Array, divisor: Array | None, scheme: WeightScheme, half: Half = None
) -> QuantizedWeight:
    """Rounds f32[inputs, outputs] with the divisor multiplied into it.

    The choice of ranges does the paper's clipping: it takes the range of least squared error of a
    block's contribution to the output.
    """
    assert scheme.block is not None
    if divisor is not None:
        weight, sample = weight * divisor[:, None], sample / divisor
    return round_blocks(weight, scheme, _moments(sample, scheme.block), half)


def _moments(rows: Array, block: int) -> Array:
    """Returns second moments f32[inputs / block, block, block] of rows f32[rows, inputs].

    Each input also counts a little on its own; otherwise the weights of an input that is zero in
    the sample could be rounded to anything.
    """
    blocks = rows[:, : rows.shape[1] // block * block].reshape(len(rows), -1, block)
    moments: Array = np.einsum("rbi,rbj->bij", blocks, blocks, optimize=True) / len(rows)
    diagonal = np.einsum("bii->bi", moments)
    mean = float(diagonal.mean())
    diagonal += RATIO * mean if mean else 1
    return moments


def _output_error(
    rows: Array, weights: Array, divisor: Array | None, scheme: WeightScheme
) -> float:
    rounded = round_scaled(weights, rows, divisor, scheme).dequantized()
    if divisor is not None:
        rounded /= divisor[:, None]
    difference = rows @ (rounded - weights)
    return float(np.vdot(difference, difference))
