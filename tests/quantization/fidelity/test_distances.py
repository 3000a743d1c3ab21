"""Distances equal their definitions."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from omnijet.quantization.fidelity.distances import EQUAL_DB, AgreementSum, Noise, log_softmax


def test_agreement_of_two_steps_by_hand() -> None:
    reference = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]], np.float32))
    other = np.log(np.array([[0.25, 0.5, 0.25], [0.1, 0.8, 0.1]], np.float32)) + np.float32(7)
    total = AgreementSum()
    total.add(reference, other, [0, 1])
    found = total.agreement()
    assert found is not None and found.steps == 2 and found.not_finite == 0
    first = 0.5 * math.log(2) - 0.25 * math.log(2)
    assert found.top1 == 0.5
    assert found.kl_mean == pytest.approx(first / 2, abs=1e-6)
    assert found.kl_most == pytest.approx(first, abs=1e-6)
    assert found.float_perplexity == pytest.approx((0.5 * 0.8) ** -0.5, rel=1e-6)
    assert found.perplexity == pytest.approx((0.25 * 0.8) ** -0.5, rel=1e-6)


def test_steps_that_are_not_finite_are_counted_and_left_out() -> None:
    total = AgreementSum()
    assert total.agreement() is None
    total.add(np.zeros((1, 3)), np.array([[0, np.nan, 0]]), [0])
    found = total.agreement()
    assert found is not None and (found.steps, found.not_finite) == (1, 1)
    assert math.isnan(found.top1) and math.isnan(found.perplexity_ratio)
    total.add(np.zeros((1, 3)), np.zeros((1, 3)), [0])
    found = total.agreement()
    assert found is not None and (found.steps, found.not_finite, found.top1) == (2, 1, 1.0)


def test_large_logits_do_not_overflow() -> None:
    found = log_softmax(np.array([3e38, -3e38, 3e38], np.float32))
    np.testing.assert_allclose(np.exp(found), [0.5, 0, 0.5])


def test_noise_over_all_that_was_added() -> None:
    noise = Noise()
    assert noise.snr_db is None
    noise.add(np.array([3.0, 4.0]), np.array([3.0, 4.0]))
    assert noise.snr_db == EQUAL_DB
    noise.add(np.array([5.0, 5.0]), np.array([5.0, 5.5]))
    assert noise.snr_db == pytest.approx(10 * math.log10(75 / 0.25))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_noise_that_is_not_finite(bad: float) -> None:
    noise = Noise()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        noise.add(np.ones(2), np.array([1.0, bad]))
    assert noise.snr_db is not None and math.isnan(noise.snr_db)
    silent = Noise()
    silent.add(np.zeros(2), np.ones(2))
    assert silent.snr_db == -EQUAL_DB
