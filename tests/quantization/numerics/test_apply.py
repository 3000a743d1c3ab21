"""A layer's change follows its scheme, and its SNR follows the layer's output."""

from __future__ import annotations

import numpy as np
import pytest

from omnijet.quantization.numerics import apply
from omnijet.quantization.numerics.apply import change_of, common_divisor, snr_db, worth_moving
from omnijet.quantization.numerics.compensation import round_compensated
from omnijet.quantization.numerics.migration import smooth_divisor
from omnijet.quantization.numerics.rounding import round_blocks, round_channels
from omnijet.quantization.numerics.statistics import Statistics
from omnijet.quantization.schemes import ActivationScheme, Scheme, WeightScheme, both
from omnijet.quantization.weights import Change, QuantizedWeight
from omnijet.runtime.errors import OmnijetError
from tests.quantization.activations import correlated, weights

ROWS = correlated(128, outliers=2)(400)
WEIGHT = weights(128, 48)
DIVISOR = np.geomspace(0.3, 3, 128).astype(np.float32)
STATS = Statistics(128, 0)
STATS.update(ROWS)


def blocks_of(change: Change) -> QuantizedWeight:
    assert change.weight.block == 32
    return change.weight


def test_blocks_are_of_the_weight_that_took_the_divisor_in() -> None:
    scheme = Scheme(WeightScheme("int4", 32))
    change = change_of(WEIGHT, scheme, None, DIVISOR)
    expected = round_blocks(WEIGHT * DIVISOR[:, None], scheme.weights)
    np.testing.assert_array_equal(blocks_of(change).values, expected.values)
    assert change.divisor is DIVISOR and change.activation is None


def test_ranges_of_scaled_blocks_are_those_of_divided_rows() -> None:
    scheme = Scheme(WeightScheme("int4", 32, scaling=True))
    change = change_of(WEIGHT, scheme, STATS, DIVISOR)
    rows = (STATS.sample / DIVISOR).astype(np.float64).reshape(STATS.count, -1, 32)
    moments = np.einsum("rbi,rbj->bij", rows, rows) / STATS.count
    expected = round_blocks(WEIGHT * DIVISOR[:, None], scheme.weights, moments.astype(np.float32))
    same = blocks_of(change).scales == expected.scales
    assert same.mean() > 0.99  # each feature counts a ten-thousandth more
    assert not np.array_equal(expected.scales, round_blocks(WEIGHT, scheme.weights).scales)


def test_compensation_sees_divided_rows() -> None:
    scheme = Scheme(WeightScheme("int4", 32, symmetric=False, compensated=True))
    change = change_of(WEIGHT, scheme, STATS, DIVISOR)
    expected = round_compensated(WEIGHT * DIVISOR[:, None], STATS.sample / DIVISOR, scheme.weights)
    np.testing.assert_array_equal(blocks_of(change).values, expected.values)


@pytest.mark.parametrize("scheme", [both("int8", "mse"), both("fp8", "max")], ids=str)
def test_activations_get_the_scale_of_their_range(scheme: Scheme) -> None:
    change, wanted = change_of(WEIGHT, scheme, STATS, DIVISOR), scheme.activations
    assert wanted is not None and change.activation is not None
    largest = {"int8": 127, "fp8": 448 / 4}[wanted.dtype]
    reach = STATS.range_of(wanted.ranging, wanted.dtype, DIVISOR)
    assert change.activation.scale == pytest.approx(reach / largest)
    assert change.activation.dtype == change.weight.dtype == wanted.dtype
    rows = STATS.sample[: apply.ROWS] / DIVISOR
    expected = round_channels(WEIGHT * DIVISOR[:, None], wanted.dtype, rows)
    np.testing.assert_array_equal(change.weight.values, expected.values)


def test_weights_in_blocks_go_with_activations_of_8_bits() -> None:
    """The two fields of a scheme are independent: each gives the same without the other."""
    blocks = WeightScheme("int4", 32, scaling=True)
    mixed = change_of(WEIGHT, Scheme(blocks, ActivationScheme("fp8")), STATS, DIVISOR)
    alone = change_of(WEIGHT, Scheme(blocks), STATS, DIVISOR)
    np.testing.assert_array_equal(blocks_of(mixed).values, alone.weight.values)
    assert mixed.activation == change_of(WEIGHT, both("fp8"), STATS, DIVISOR).activation
    assert snr_db(WEIGHT, mixed, ROWS) == pytest.approx(snr_db(WEIGHT, alone, ROWS), abs=1)
    assert snr_db(WEIGHT, mixed, ROWS) < snr_db(WEIGHT, alone, ROWS)


def test_fp8_activations_may_grow_fourfold_before_they_saturate() -> None:
    change = change_of(WEIGHT, both("fp8", "max"), STATS, None)
    seen = snr_db(WEIGHT, change, ROWS)
    assert snr_db(WEIGHT, change, ROWS * 4) == pytest.approx(seen, abs=0.5)
    assert snr_db(WEIGHT, change, ROWS * 16) < seen - 5


def test_activations_move_into_weights_only_where_outputs_gain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    divisor = smooth_divisor(np.abs(WEIGHT).max(axis=1), STATS, 0.5)
    int8 = both("int8", "max", 0.5)
    assert worth_moving(WEIGHT, int8, STATS, divisor) is divisor
    assert worth_moving(WEIGHT, int8, STATS, 1 / divisor) is None
    # every n-th output of a large layer decides: here those that lose
    weight = WEIGHT.copy()
    weight[:, ::4] *= 1e-3
    weight[STATS.absmax.argmax(), ::4] = 1
    assert worth_moving(weight, int8, STATS, divisor) is divisor
    monkeypatch.setattr(apply, "SEARCHED", 128 * 12)
    assert worth_moving(weight, int8, STATS, divisor) is None


@pytest.mark.parametrize("outputs", [7, apply.OUTPUTS])
def test_snr_is_that_of_the_changed_product_written_out(
    monkeypatch: pytest.MonkeyPatch, outputs: int
) -> None:
    monkeypatch.setattr(apply, "OUTPUTS", outputs)
    change = change_of(WEIGHT, both("int8", "max"), STATS, DIVISOR)
    assert change.activation is not None
    step = change.activation.scale
    rows = np.clip(np.rint(ROWS / DIVISOR / step), -128, 127) * step
    exact = ROWS.astype(np.float64) @ WEIGHT
    noise = rows @ change.weight.dequantized() - exact
    expected = 10 * np.log10((exact**2).sum() / (noise**2).sum())
    assert snr_db(WEIGHT, change, ROWS) == pytest.approx(expected, abs=0.01)
    assert 10 < expected < 45


def test_schemes_rank_as_they_must() -> None:
    snrs = [
        snr_db(WEIGHT, change_of(WEIGHT, scheme, STATS, None), ROWS)
        for scheme in (
            Scheme(WeightScheme("int4", 128)),
            Scheme(WeightScheme("int4", 32)),
            Scheme(WeightScheme("int4", 32, compensated=True)),
            Scheme(WeightScheme("int8", 128)),
            Scheme(WeightScheme("int8", 32)),
        )
    ]
    assert snrs == sorted(snrs)


def test_an_exact_change_has_no_noise() -> None:
    weight = np.full((32, 3), 2.0, np.float32)
    rows = np.ones((4, 32), np.float32)
    exact = round_blocks(weight, WeightScheme("int8", 32))
    assert snr_db(exact.dequantized(), Change(exact), rows) == np.inf
    assert snr_db(weight * 0, Change(exact), rows) == -np.inf


@pytest.mark.parametrize(
    "scheme",
    [
        both("int8"),
        Scheme(WeightScheme("int4", compensated=True)),
        Scheme(WeightScheme("int4", scaling=True)),
        Scheme(WeightScheme("int4"), ActivationScheme("fp8")),
    ],
    ids=str,
)
def test_a_scheme_that_needs_statistics_says_so(scheme: Scheme) -> None:
    with pytest.raises(OmnijetError, match="activations"):
        change_of(WEIGHT, scheme, None, None)
    with pytest.raises(OmnijetError, match="no rows"):
        change_of(WEIGHT, scheme, Statistics(128, 0), None)


def test_layers_of_one_activation_share_a_divisor_that_serves_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layers, int8 = [WEIGHT, 3 * weights(128, 16, seed=5)], both("int8", "max", 0.5)
    largest = np.maximum(*(np.abs(weight).max(axis=1) for weight in layers))
    expected = smooth_divisor(largest, STATS, 0.5)
    np.testing.assert_array_equal(common_divisor(layers, int8, STATS), expected)
    monkeypatch.setattr(apply, "smooth_divisor", lambda *_: 1 / expected)
    assert common_divisor(layers, int8, STATS) is None
    assert common_divisor(layers, both("int8"), STATS) is None
    assert common_divisor(layers, Scheme(WeightScheme("int4")), STATS) is None
