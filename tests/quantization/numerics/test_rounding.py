"""Rounding equals brute force, number by number."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
import pytest

from omnijet.quantization.numerics.rounding import round_activation, round_blocks, round_channels
from omnijet.quantization.schemes import WeightScheme
from omnijet.runtime.errors import OmnijetError
from tests.quantization.activations import correlated, weights

SCHEMES = [
    WeightScheme(f"int{bits}", block, symmetric)
    for bits, block, symmetric in itertools.product((4, 8), (32, 64), (True, False))
]  # type: ignore[call-overload]


def by_brute_force(block: np.ndarray, bits: int, symmetric: bool, moments: np.ndarray) -> float:
    """Returns the least error of one column's block f64[block] over all shrunk ranges."""
    low, high = min(block.min(), 0.0), max(block.max(), 0.0)
    if symmetric:
        codes = np.arange(-8, 8) if bits == 4 else np.arange(-127, 128)
        whole = max(low / codes[0], high / codes[-1])
    else:
        whole = (high - low) / (2**bits - 1)
        codes = np.arange(2**bits) - round(-low / whole)
    errors = []
    for shrink in np.linspace(1.0, 0.5, 21):
        grid = codes * whole * shrink
        lost = grid[np.abs(block[:, None] - grid).argmin(axis=1)] - block
        errors.append(lost @ moments @ lost)
    return min(errors)


@pytest.mark.parametrize("heard", [False, True])
@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_blocks_are_as_good_as_brute_force(scheme: WeightScheme, heard: bool) -> None:
    weight = weights(128, 5) + np.float32(0.01)
    weight[:, 3] = np.abs(weight[:, 3]) + 1  # zero lies far outside these numbers
    block = scheme.block
    moments = np.broadcast_to(np.eye(block), (128 // block, block, block))
    if heard:  # correlated, with a mean that is not zero, and uneven loudness
        rows = correlated(128, outliers=2)(300) + 1
        blocks = rows.reshape(300, -1, block).astype(np.float64)
        moments = np.einsum("rbi,rbj->bij", blocks, blocks) / 300
    rounded = round_blocks(weight, scheme, moments.astype(np.float32) if heard else None)
    lost = (rounded.dequantized() - weight.astype(np.float64)).reshape(-1, block, 5)
    errors = np.einsum("bio,bij,bjo->bo", lost, moments, lost)
    wanted = weight.astype(np.float64).reshape(-1, block, 5)
    best = [
        [
            by_brute_force(wanted[index, :, output], scheme.bits, scheme.symmetric, moments[index])
            for output in range(5)
        ]
        for index in range(len(wanted))
    ]
    np.testing.assert_allclose(errors, best, rtol=1e-3)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_values_are_of_the_declared_type_and_use_the_whole_grid(scheme: WeightScheme) -> None:
    rounded = round_blocks(weights(256, 1100), scheme)  # more outputs than are rounded at once
    low, high = {
        (4, True): (-8, 7), (8, True): (-127, 127), (4, False): (0, 15), (8, False): (0, 255),
    }[scheme.bits, scheme.symmetric]  # fmt: skip
    assert rounded.values.dtype == (np.int8 if scheme.symmetric else np.uint8)
    assert (rounded.values.min(), rounded.values.max()) == (low, high)
    assert rounded.scales.dtype == np.float32 and (rounded.scales > 0).all()
    if scheme.symmetric:
        assert rounded.zeros is None
    else:
        assert rounded.zeros is not None and rounded.zeros.dtype == np.uint8
        assert rounded.zeros.max() <= high


def test_clipping_one_weight_pays_for_the_rest() -> None:
    rng = np.random.default_rng(0)
    weight = rng.uniform(-1, 1, (128, 1)).astype(np.float32)
    weight[5] = 1.3
    scale = round_blocks(weight, WeightScheme("int4", 128)).scales[0, 0]
    assert 0.7 * 1.3 / 7 <= scale < 0.95 * 1.3 / 7


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_zeros_stay_zeros_and_get_scale_1(scheme: WeightScheme) -> None:
    weight = weights(128, 4)
    weight[:64, 2] = 0
    weight[64:, 1] = 1e-42  # too small to divide by
    rounded = round_blocks(weight, scheme)
    per_block = 64 // scheme.block
    assert (rounded.scales[:per_block, 2] == 1).all()
    assert (rounded.scales[per_block:, 1] == 1).all()
    assert (rounded.dequantized()[:64, 2] == 0).all()
    assert np.isfinite(rounded.dequantized()).all()


def test_a_zero_among_weights_stays_zero() -> None:
    weight = weights(64, 9)
    weight[::7] = 0
    for scheme in SCHEMES:
        assert (round_blocks(weight, scheme).dequantized()[::7] == 0).all()


def test_half_the_block_is_refused() -> None:
    with pytest.raises(OmnijetError, match="whole blocks"):
        round_blocks(weights(96, 4), WeightScheme("int4", 64))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_named(bad: float) -> None:
    weight = weights(128, 4)
    weight[70, 2] = bad
    with pytest.raises(OmnijetError, match="input 70, output 2"):
        round_blocks(weight, WeightScheme("int4", 64))
    with pytest.raises(OmnijetError, match="input 70, output 2"):
        round_channels(weight, "int8")


def test_int8_channels_round_to_nearest() -> None:
    weight = weights(130, 6)
    weight[:, 4] = 0
    channels = round_channels(weight, "int8")
    assert channels.values.dtype == np.int8
    assert np.abs(channels.values.astype(int)).max(axis=0).tolist() == [127] * 4 + [0, 127]
    assert channels.scales[4] == 1
    assert (np.abs(channels.dequantized() - weight) <= channels.scales / 2 * 1.001).all()


def test_fp8_channels_round_to_nearest() -> None:
    weight = weights(130, 6)
    channels = round_channels(weight, "fp8")
    assert channels.values.dtype == ml_dtypes.float8_e4m3fn
    every = np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float64)
    every = every[np.isfinite(every)]
    nearest = np.abs(weight[..., None] - every * channels.scales[:, None].astype(np.float64))
    error = np.abs(channels.dequantized().astype(np.float64) - weight)
    np.testing.assert_allclose(error, nearest.min(axis=-1), atol=1e-8)
    assert np.abs(channels.values.astype(np.float32)).max(axis=0).tolist() == [448] * 6


def test_fp8_channels_take_the_best_place_between_two_powers_of_two() -> None:
    weight, rows = weights(96, 7), correlated(96, outliers=2)(64)
    rounded, plain = round_channels(weight, "fp8", rows), round_channels(weight, "fp8")
    places = 2.0 ** (np.arange(8) / 8)
    errors = []
    for place in places:
        scales = plain.scales * np.float32(place)
        there = (weight / scales).astype(ml_dtypes.float8_e4m3fn).astype(np.float32) * scales
        errors.append(np.square(rows @ (there - weight)).sum(axis=0))
    chosen = places[np.argmin(errors, axis=0)]
    np.testing.assert_allclose(rounded.scales / plain.scales, chosen, rtol=1e-5)
    assert len(set(chosen)) > 2
    whole = round_channels(weight, "int8", rows)
    np.testing.assert_array_equal(whole.scales, round_channels(weight, "int8").scales)


def test_activations_saturate_as_the_graph_does() -> None:
    rows = np.array([[-1e9, -0.5, 0.26, 1e9]], np.float32)
    np.testing.assert_allclose(round_activation(rows, "int8", 0.1), [[-12.8, -0.5, 0.3, 12.7]],
                               rtol=1e-6)  # fmt: skip
    np.testing.assert_allclose(round_activation(rows, "fp8", 0.1)[0, [0, 3]], [-44.8, 44.8])
