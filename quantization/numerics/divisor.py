"""Keeps divisors of an activation in the range of 16-bit floats."""

from __future__ import annotations

import numpy as np

from omnijet.runtime.bundle.contract import Array

SMALLEST = 1e-5
LARGEST_ACTIVATION = 16384.0  # a quarter of the largest f16


def balanced(divisor: Array, live: Array, absmax: Array) -> Array:
    """Scales a divisor by a common factor, which changes no rounding, so that nothing overflows.

    Args:
        divisor: f32[inputs], positive where `live`.
        live: bool[inputs]; the other inputs are divided by 1.
        absmax: f32[inputs], largest magnitudes of the activation.

    Returns:
        f32[inputs] with geometric mean 1 where live, from 1e-5 to 1e5; larger if the activation
        would exceed `LARGEST_ACTIVATION` otherwise.
    """
    result = np.ones(len(divisor), np.float64)
    if live.any():
        logs = np.log(divisor[live].astype(np.float64))
        result[live] = np.exp(np.clip(logs - logs.mean(), np.log(SMALLEST), -np.log(SMALLEST)))
        result *= max(1.0, float((absmax / result).max()) / max(LARGEST_ACTIVATION, absmax.max()))
    balanced: Array = result.astype(np.float32)
    return balanced
