"""Rounding input by input: what one loses, the following ones make good.

Source: GPTQ (Frantar et al. 2022, arXiv:2210.17323), algorithm 1, with the same result to
rounding and another way there. Its Hessian H = X'X + d of all inputs is never built: with k
sample rows it has rank k and a damped diagonal, so what columns already rounded left over,
r = X (weight - rounded), and k x k matrices say the same. For columns B of a block and all
later ones N, with M = X_N X_N' + d:

    weight_B + X_B' (M + X_B X_B')^-1 r   is B as compensated so far,
    1 + X_B' M^-1 X_B                     is its Hessian with N free to follow, over d.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from omnijet.quantization.numerics.rounding import (
    Grid,
    best_range,
    empty_blocks,
    round_blocks,
    store,
)
from omnijet.quantization.numerics.statistics import condensed
from omnijet.quantization.schemes import Half, WeightScheme
from omnijet.quantization.weights import QuantizedWeight
from omnijet.runtime.bundle.contract import Array

DAMPING = 0.01  # of the Hessian's mean diagonal
LAZY = 128  # columns that are compensated together
EAGER = 32  # columns of those that follow each other at once


def round_compensated(
    weight: Array, sample: Array, scheme: WeightScheme, half: Half = None
) -> QuantizedWeight:
    """f32[inputs, outputs] -> of least squared error of `sample` f32[rows, inputs] times it.

    Inputs are rounded in their order. The range of a block is chosen from its weights as
    compensated when it is reached. Inputs that the sample never drives round to nearest; so do
    all if it drives none. Beside the weight it holds a few arrays f32[rows, inputs + outputs].

    What it gains on the sample says little: rows that are few or unlike the rest are learned by
    heart. With independent features and half as many rows as inputs it loses 4.5 dB against
    rounding to nearest on rows not seen, where it gains 5.7 on the sample.
    """
    blocks = empty_blocks(weight, scheme)
    rows = condensed(sample)
    energy = float(np.vdot(rows, rows))
    if energy == 0:
        return round_blocks(weight, scheme, half=half)
    lost = np.zeros((len(rows), weight.shape[1]), np.float32)
    for start, spread, triangle in _hessians(rows, DAMPING * energy / rows.shape[1]):
        stop = start + len(triangle)
        wanted = weight[start:stop] + spread.T @ lost
        kept = _round_lazily(wanted, triangle, scheme, blocks, start, half)
        lost += rows[:, start:stop] @ (weight[start:stop] - kept)
    return blocks


def _hessians(rows: Array, damping: float) -> Iterator[tuple[int, Array, Array]]:
    """For each `LAZY` columns: the first, f32[rows, columns] that spreads what was lost to
    them, and the upper Cholesky factor f32[columns, columns] of their inverse Hessian."""
    wide = rows.astype(np.float64)
    later = wide @ wide.T + damping * np.eye(len(rows))
    for start in range(0, rows.shape[1], LAZY):
        columns = wide[:, start : start + LAZY]
        later -= columns @ columns.T
        solved = np.linalg.solve(later, columns)
        hessian = np.eye(columns.shape[1]) + columns.T @ solved
        hessian = (hessian + hessian.T) / 2
        spread = np.linalg.solve(hessian, solved.T).T
        # H = V V' with V upper triangular, so the inverse is U'U with U = 1 / V
        upper = np.linalg.cholesky(hessian[::-1, ::-1])[::-1, ::-1]
        triangle = np.linalg.inv(upper)
        yield start, spread.astype(np.float32), triangle.astype(np.float32)


def _round_lazily(
    wanted: Array,
    triangle: Array,
    scheme: WeightScheme,
    blocks: QuantizedWeight,
    start: int,
    half: Half,
) -> Array:
    """Rounds f32[columns, outputs] into `blocks` from input `start`; what they became.

    `wanted` is worked on in place.
    """
    assert scheme.block is not None
    everywhere = slice(None)
    kept = np.empty_like(wanted)
    grid: Grid | None = None
    for first in range(0, len(wanted), EAGER):
        last = first + EAGER
        if (start + first) % scheme.block == 0:
            grid = best_range(wanted[first : first + scheme.block], scheme, half=half)
        assert grid is not None  # the first column of a lazy block begins one of the scheme's
        whole = np.empty_like(wanted[first:last])
        errors = np.empty_like(whole)
        for index in range(first, last):
            whole[index - first] = grid.rounded(wanted[index])
            kept[index] = whole[index - first] * grid.scale
            error = (wanted[index] - kept[index]) / triangle[index, index]
            wanted[index + 1 : last] -= np.outer(triangle[index, index + 1 : last], error)
            errors[index - first] = error
        wanted[last:] -= triangle[first:last, last:].T @ errors
        store(blocks, start + first, everywhere, grid, whole)
    return kept
