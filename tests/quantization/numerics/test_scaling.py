"""AWQ's divisor: louder features round finer, and only where that helps."""

from __future__ import annotations

import numpy as np
import pytest

from omnijet.quantization.numerics import scaling
from omnijet.quantization.numerics.apply import change_of, snr_db
from omnijet.quantization.numerics.rounding import round_blocks
from omnijet.quantization.numerics.scaling import awq_divisor, reaches, round_scaled
from omnijet.quantization.numerics.statistics import Statistics
from omnijet.quantization.schemes import Scheme, WeightScheme
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.errors import OmnijetError
from tests.quantization.activations import correlated, weights

SCHEME = WeightScheme("int4", 64, scaling=True)


def calibrated(rows: Array) -> Statistics:
    stats = Statistics(rows.shape[1], 0)
    stats.update(rows)
    return stats


@pytest.mark.parametrize("symmetric", [True, False])
def test_planted_outliers_gain_3_db_on_rows_not_seen(symmetric: bool) -> None:
    rows = correlated(256, outliers=3)
    stats, heldout = calibrated(rows(1024)), rows(256)
    weight, scheme = weights(256, 192), WeightScheme("int4", 64, symmetric, scaling=True)
    divisor = awq_divisor(weight, stats, scheme)
    assert divisor is not None and divisor.dtype == np.float32
    nearest = WeightScheme("int4", 64, symmetric)
    plain = snr_db(weight, change_of(weight, Scheme(nearest), None, None), heldout)
    weighed = snr_db(weight, change_of(weight, Scheme(scheme), stats, None), heldout)
    scaled = snr_db(weight, change_of(weight, Scheme(scheme), stats, divisor), heldout)
    assert weighed > plain + 1 and scaled > plain + 3
    loud = np.argsort(stats.absmean)[-3:]
    assert divisor[loud].min() > np.median(divisor) * 1.5


def test_the_exponent_is_the_best_of_eleven() -> None:
    stats = calibrated(correlated(64, outliers=1)(300))
    weight = weights(64, 48)
    reach = reaches(weight, 64)
    divisors = [scaling.scaling(stats, reach, step / 10) for step in range(11)]
    snrs = [
        snr_db(weight, change_of(weight, Scheme(SCHEME), stats, divisor), stats.sample)
        for divisor in divisors
    ]
    best = divisors[int(np.argmax(snrs))]
    np.testing.assert_array_equal(awq_divisor(weight, stats, SCHEME), best)
    assert len({round(snr, 3) for snr in snrs}) == 11


def test_the_reach_of_an_input_is_its_part_of_its_blocks_ranges() -> None:
    weight = weights(96, 40)
    weight[:32, 3] = 0
    expected = [
        np.mean([
            abs(weight[index, output]) / (np.abs(weight[start : start + 32, output]).max() or 1)
            for output in range(40)
        ])
        for start in range(0, 96, 32)
        for index in range(start, start + 32)
    ]  # fmt: skip
    np.testing.assert_allclose(reaches(weight, 32), expected, rtol=1e-5)


def test_exponents_go_from_the_weights_to_the_activations() -> None:
    stats = calibrated(correlated(64, outliers=1)(300))
    reach = reaches(weights(64, 48), 64)
    even, loud = scaling.scaling(stats, reach, 0.0), scaling.scaling(stats, reach, 1.0)
    np.testing.assert_allclose(even * reach, (even * reach)[0], rtol=1e-5)
    np.testing.assert_allclose(loud / stats.absmean, (loud / stats.absmean)[0], rtol=1e-5)


def test_nothing_is_scaled_where_nothing_is_gained() -> None:
    """Weights that lie on the grid already round to themselves only without a divisor."""
    grid = np.random.default_rng(0).integers(-8, 8, (128, 32)).astype(np.float32)
    grid[::64] = -8
    stats = calibrated(correlated(128, outliers=2)(300))
    assert awq_divisor(grid, stats, SCHEME) is None


def test_silent_and_overflowing_features_leave_finite_divisors() -> None:
    rows = correlated(128, outliers=2)(300)
    rows[:, 5] = 0
    rows[:, 6] = 1e-30
    rows[:, 7] *= 1e4
    stats = calibrated(rows)
    divisor = scaling.scaling(stats, np.ones(128, np.float32), 1.0)
    loudness = stats.absmean
    quietest = 1e-4 * loudness.mean() / loudness.max()
    assert divisor[6] / divisor.max() == pytest.approx(quietest, rel=1e-3)
    assert np.isfinite(divisor).all() and (divisor > 0).all()
    assert np.abs(rows / divisor).max() < 65504
    assert divisor.min() >= 1e-5


def test_blocks_that_are_never_driven_get_the_ranges_of_plain_rounding() -> None:
    rows, weight = correlated(192, outliers=2)(100), weights(192, 48)
    rows[:, 64:128] = 0
    nearest = round_blocks(weight, SCHEME)
    scaled = round_scaled(weight, rows, None, SCHEME)
    same = (scaled.scales == nearest.scales).all(axis=1)
    assert same.tolist() == [False, True, False]
    silent = round_scaled(weight, np.zeros_like(rows), None, SCHEME)
    np.testing.assert_array_equal(silent.scales, nearest.scales)


def test_a_part_of_a_large_layer_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    stats, weight = calibrated(correlated(64, outliers=1)(300)), weights(64, 64)
    part = awq_divisor(weight[:, ::4], stats, SCHEME)
    monkeypatch.setattr(scaling, "SEARCHED", 64 * 16)
    np.testing.assert_array_equal(awq_divisor(weight, stats, SCHEME), part)


def test_without_rows_there_is_nothing_to_search() -> None:
    with pytest.raises(OmnijetError, match="no rows"):
        awq_divisor(weights(64, 4), Statistics(64, 0), SCHEME)
