"""SmoothQuant's divisor, and the gain from it."""

from __future__ import annotations

import numpy as np
import pytest

from omnijet.quantization.numerics.apply import change_of, snr_db
from omnijet.quantization.numerics.migration import smooth_divisor
from omnijet.quantization.numerics.statistics import Statistics
from omnijet.quantization.schemes import both
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.errors import OmnijetError
from tests.quantization.activations import correlated, weights


def calibrated(rows: Array) -> Statistics:
    stats = Statistics(rows.shape[1], 0)
    stats.update(rows)
    return stats


def test_it_is_the_papers_ratio_up_to_a_factor() -> None:
    stats = calibrated(correlated(64, outliers=2)(300))
    weight_absmax = np.abs(weights(64, 32)).max(axis=1)
    for strength in (0.0, 0.3, 0.5, 1.0):
        divisor = smooth_divisor(weight_absmax, stats, strength)
        expected = stats.absmax**strength / weight_absmax ** (1 - strength)
        np.testing.assert_allclose(divisor / divisor[0], expected / expected[0], rtol=1e-4)
        assert np.log(divisor).mean() == pytest.approx(0, abs=1e-4)


def test_migration_gains_8_db_on_outliers_on_rows_not_seen() -> None:
    rows = correlated(256, outliers=3)
    stats, heldout, weight = calibrated(rows(1024)), rows(256), weights(256, 128)
    divisor = smooth_divisor(np.abs(weight).max(axis=1), stats, 0.5)
    scheme = both("int8", "max", migration=0.5)
    without = snr_db(weight, change_of(weight, scheme, stats, None), heldout)
    assert snr_db(weight, change_of(weight, scheme, stats, divisor), heldout) > without + 8


def test_silent_inputs_are_divided_by_1() -> None:
    rows = correlated(64, outliers=1)(100)
    rows[:, 3] = 0
    weight_absmax = np.abs(weights(64, 32)).max(axis=1)
    weight_absmax[9] = 0
    divisor = smooth_divisor(weight_absmax, calibrated(rows), 0.5)
    assert divisor[3] == 1 and divisor[9] == 1
    silent = smooth_divisor(weight_absmax, calibrated(np.zeros_like(rows)), 0.5)
    np.testing.assert_array_equal(silent, 1)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_no_extreme_overflows_16_bits(strength: float) -> None:
    rows = correlated(64, outliers=1)(100)
    rows[:, 3] = 60000
    rows[:, 4] = 1e-12
    weight_absmax = np.abs(weights(64, 32)).max(axis=1)
    weight_absmax[[3, 5]] = 1e-12, 1e4
    divisor = smooth_divisor(weight_absmax, calibrated(rows), strength)
    assert np.isfinite(divisor).all() and divisor.min() >= 1e-5
    assert np.abs(rows / divisor).max() <= 60000 * 1.001


@pytest.mark.parametrize("strength", [-0.1, 1.1])
def test_a_strength_out_of_range_is_refused(strength: float) -> None:
    with pytest.raises(OmnijetError, match="strength"):
        smooth_divisor(np.ones(64), calibrated(correlated(64, outliers=1)(10)), strength)
