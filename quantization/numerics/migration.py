"""Moves large activations into the weights before both are rounded to 8 bits."""

from __future__ import annotations

import numpy as np

from omnijet.quantization.numerics.divisor import SMALLEST, balanced
from omnijet.quantization.numerics.statistics import Statistics
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.errors import OmnijetError


def smooth_divisor(weight_absmax: Array, stats: Statistics, strength: float) -> Array:
    """Returns f32[inputs]: activation absmax ** strength / weight absmax ** (1 - strength).

    Source: SmoothQuant (Xiao et al. 2022, arXiv:2211.10438), equation 4.

    Args:
        weight_absmax: f32[inputs], over the outputs of all layers that share the activation.
        strength: 0 leaves the whole range to the activation, 1 moves all of it to the weights.
    """
    if not 0 <= strength <= 1:
        raise OmnijetError("the strength of migration is out of range",
                           expected="0 to 1", got=strength)  # fmt: skip
    activation = np.maximum(stats.absmax, SMALLEST)
    weight = np.maximum(weight_absmax, SMALLEST)
    live = (stats.absmax > 0) & (weight_absmax > 0)
    return balanced(activation**strength / weight ** (1 - strength), live, stats.absmax)
