"""GPTQ equals the paper's algorithm on the whole Hessian, and beats rounding to nearest."""

from __future__ import annotations

import numpy as np
import pytest

from omnijet.quantization.numerics.apply import snr_db
from omnijet.quantization.numerics.compensation import DAMPING, round_compensated
from omnijet.quantization.numerics.rounding import best_range, round_blocks
from omnijet.quantization.schemes import WeightScheme
from omnijet.quantization.weights import Change
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.errors import OmnijetError
from tests.quantization.activations import correlated, weights


def as_the_paper(weight: Array, rows: Array, scheme: WeightScheme) -> Array:
    """Runs algorithm 1 column by column in f64; returns the weights f64[inputs, outputs]."""
    wide = rows.astype(np.float64)
    hessian = wide.T @ wide
    hessian += DAMPING * np.trace(hessian) / len(hessian) * np.eye(len(hessian))
    upper = np.linalg.cholesky(np.linalg.inv(hessian)).T
    left, kept = weight.astype(np.float64), np.empty(weight.shape)
    for index in range(len(left)):
        if index % scheme.block == 0:
            block = left[index : index + scheme.block].astype(np.float32)
            grid = best_range(block, scheme)
        kept[index] = grid.rounded(left[index]) * grid.scale.astype(np.float64)
        error = (left[index] - kept[index]) / upper[index, index]
        left[index + 1 :] -= np.outer(upper[index, index + 1 :], error)
    return kept


@pytest.mark.parametrize("count", [40, 700], ids=["fewer rows than inputs", "more"])
@pytest.mark.parametrize(
    "scheme",
    [WeightScheme("int4", 32), WeightScheme("int4", 64, symmetric=False), WeightScheme("int8", 128),
     WeightScheme("int8", 32, symmetric=False)],
    ids=str,
)  # fmt: skip
def test_it_is_the_papers_algorithm(scheme: WeightScheme, count: int) -> None:
    rows = correlated(384, outliers=3)(count)
    weight = weights(384, 24)
    found = round_compensated(weight, rows, scheme).dequantized()
    expected = as_the_paper(weight, rows, scheme)
    # a tie that rounds the other way in f32 changes the rest of its column: few columns may
    same = np.isclose(found, expected, rtol=1e-3, atol=1e-5).all(axis=0)
    assert same.sum() >= 20 if scheme.bits == 4 else same.sum() >= 12
    ratio = np.linalg.norm(rows @ (found - weight)) / np.linalg.norm(rows @ (expected - weight))
    assert ratio == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("symmetric", [True, False])
def test_it_beats_nearest_by_5_db_and_on_rows_not_seen(symmetric: bool) -> None:
    rows = correlated(256, outliers=2)
    sample, heldout = rows(512), rows(512)
    weight, scheme = weights(256, 128), WeightScheme("int4", 64, symmetric)
    nearest = Change(round_blocks(weight, scheme))
    compensated = Change(round_compensated(weight, sample, scheme))
    assert snr_db(weight, compensated, sample) > snr_db(weight, nearest, sample) + 5
    assert snr_db(weight, compensated, heldout) > snr_db(weight, nearest, heldout) + 5


def test_independent_activations_leave_nothing_to_compensate() -> None:
    rows = np.eye(128, dtype=np.float32)
    weight, scheme = weights(128, 16), WeightScheme("int4", 64)
    found, expected = round_compensated(weight, rows, scheme), round_blocks(weight, scheme)
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.scales, expected.scales)


@pytest.mark.parametrize("symmetric", [True, False])
def test_inputs_the_sample_never_drives_round_to_nearest(symmetric: bool) -> None:
    rows = correlated(256, outliers=2)(300)
    rows[:, 64:128] = 0
    weight, scheme = weights(256, 16), WeightScheme("int4", 64, symmetric)
    found, nearest = round_compensated(weight, rows, scheme), round_blocks(weight, scheme)
    np.testing.assert_array_equal(found.dequantized()[64:128], nearest.dequantized()[64:128])
    assert not np.array_equal(found.values, nearest.values)
    silent = round_compensated(weight, np.zeros_like(rows), scheme)
    np.testing.assert_array_equal(silent.values, nearest.values)


def test_the_weight_is_left_as_it_was() -> None:
    weight = weights(256, 16)
    before = weight.copy()
    round_compensated(weight, correlated(256, outliers=1)(50), WeightScheme("int4", 64))
    np.testing.assert_array_equal(weight, before)


def test_what_blocks_refuse_is_refused() -> None:
    rows = correlated(96, outliers=1)(50)
    with pytest.raises(OmnijetError, match="whole blocks"):
        round_compensated(weights(96, 4), rows, WeightScheme("int4", 64))
    broken = weights(96, 4)
    broken[3, 1] = np.nan
    with pytest.raises(OmnijetError, match="input 3, output 1"):
        round_compensated(broken, rows, WeightScheme("int4", 32))
