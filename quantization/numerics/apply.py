"""Applies a scheme to one layer, and measures what that does to the layer's output."""

from __future__ import annotations

import numpy as np

from omnijet.quantization.numerics.compensation import round_compensated
from omnijet.quantization.numerics.migration import smooth_divisor
from omnijet.quantization.numerics.rounding import (
    LARGEST,
    round_activation,
    round_blocks,
    round_channels,
    stored,
)
from omnijet.quantization.numerics.scaling import SEARCHED, awq_divisor, round_scaled
from omnijet.quantization.numerics.statistics import Statistics
from omnijet.quantization.schemes import Half, Scheme
from omnijet.quantization.weights import ActivationGrid, Change, QuantizedWeight
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.errors import OmnijetError

ROWS = 64  # rows of the sample that scales of channels are chosen with
OUTPUTS = 8192  # features compared at once; a whole vocabulary would copy the largest weight
HEADROOM = {"int8": 1.0, "fp8": 4.0}
"""Factor on the calibrated range before an activation saturates. FP8 loses nothing by a power of
two, and later activations may be larger than all that calibration saw."""


def change_of(
    weight: Array,
    scheme: Scheme,
    stats: Statistics | None,
    divisor: Array | None,
    half: Half = None,
) -> Change:
    """Returns what becomes of a layer with a weight f32[inputs, outputs].

    Args:
        stats: statistics of the layer's undivided activation; may be None if the scheme is not
            calibrated.
        divisor: f32[inputs] of the activation, shared by all its layers; None divides nothing.
        half: 16-bit type that scales are stored in; None: f32.

    Raises:
        OmnijetError: the scheme needs statistics and there are none, or numbers are not finite.
    """
    rounded, activation = scheme.activations, None
    if rounded is not None:
        reach = _needed(stats, scheme).range_of(rounded.ranging, rounded.dtype, divisor)
        step = np.array(HEADROOM[rounded.dtype] * reach / LARGEST[rounded.dtype], np.float32)
        activation = ActivationGrid(rounded.dtype, float(stored(step, half)))
    return Change(_rounded(weight, scheme, stats, divisor, half), divisor, activation)


def _rounded(
    weight: Array, scheme: Scheme, stats: Statistics | None, divisor: Array | None, half: Half
) -> QuantizedWeight:
    """Rounds f32[inputs, outputs] with the divisor multiplied into it."""
    weights = scheme.weights
    if weights.scaling and not weights.compensated:
        return round_scaled(weight, _needed(stats, scheme).sample, divisor, weights, half)
    divided = weight if divisor is None else weight * divisor[:, None]
    if weights.compensated:
        rows = _divided(_needed(stats, scheme).sample, divisor)
        return round_compensated(divided, rows, weights, half)
    if weights.block is not None:
        return round_blocks(divided, weights, half=half)
    assert weights.dtype != "int4"
    sample = None if stats is None else _divided(stats.sample[:ROWS], divisor)
    return round_channels(divided, weights.dtype, sample, half)


def _divided(rows: Array, divisor: Array | None) -> Array:
    return rows if divisor is None else rows / divisor


def common_divisor(weights: list[Array], scheme: Scheme, stats: Statistics | None) -> Array | None:
    """Returns the divisor f32[inputs] of all layers that read one activation, or None.

    Args:
        weights: f32[inputs, outputs] of each layer.
    """
    if stats is None:
        return None
    if scheme.weights.scaling:
        return awq_divisor(np.concatenate(weights, axis=1), stats, scheme.weights)
    if scheme.activations is None or scheme.activations.migration is None:
        return None
    largest = np.max([np.abs(weight).max(axis=1) for weight in weights], axis=0)
    divisor = smooth_divisor(largest, stats, scheme.activations.migration)
    return worth_moving(np.concatenate(weights, axis=1), scheme, stats, divisor)


def worth_moving(weights: Array, scheme: Scheme, stats: Statistics, divisor: Array) -> Array | None:
    """Returns the divisor, or None if outputs on the sample are nearer without it.

    FP8 is as fine for small numbers as for large ones, and often gains nothing.

    Args:
        weights: f32[inputs, outputs of all layers that share the activation]; only every n-th
            output of a large layer is tried.
    """
    part = np.ascontiguousarray(weights[:, :: max(1, weights.size // SEARCHED)])
    moved, plain = (
        snr_db(part, change_of(part, scheme, stats, tried), stats.sample)
        for tried in (divisor, None)
    )
    return divisor if moved > plain else None


Losses = list[tuple[float, float]]
"""Squared noise and squared signal of some outputs after the others."""


def snr_db(weight: Array, change: Change, sample: Array) -> float:
    """Returns the SNR of a changed layer's output against `sample` f32[rows, inputs] @ `weight`.

    Activations are rounded too. The SNR is infinite if nothing differs. On the rows that weights
    were compensated for it is too high: use other rows there.
    """
    return snr_of(losses_of(weight, change, sample))


def losses_of(weight: Array, change: Change, sample: Array) -> Losses:
    """Returns noise and signal of the layer's output, for `OUTPUTS` features each."""
    rows = _divided(sample, change.divisor)
    if change.activation is not None:
        rows = round_activation(rows, change.activation.dtype, change.activation.scale)
    found = []
    for first in range(0, weight.shape[1], OUTPUTS):
        part = slice(first, first + OUTPUTS)
        exact = sample @ weight[:, part]
        difference = rows @ change.weight.columns(part).dequantized() - exact
        noise, signal = np.vdot(difference, difference), np.vdot(exact, exact)
        found.append((float(noise), float(signal)))
    return found


def snr_of(losses: Losses) -> float:
    """Returns the SNR of all outputs together in dB."""
    noise = signal = 0.0
    for one in losses:
        noise, signal = noise + one[0], signal + one[1]
    if noise == 0:
        return np.inf
    return float(10 * np.log10(signal / noise)) if signal else -np.inf


def _needed(stats: Statistics | None, scheme: Scheme) -> Statistics:
    if stats is None:
        raise OmnijetError("this scheme needs to know the activations", expected="statistics",
                           got=str(scheme), fix="calibrate before quantizing")  # fmt: skip
    return stats
