"""Tests of paired differences of scores."""

from __future__ import annotations

import numpy as np
import pytest

from omnijet.nano.evaluation.paired import paired_match, paired_word_errors
from omnijet.nano.evaluation.scores import exact_match, word_error_rate


def test_equal_answers_leave_an_uncertain_difference_of_zero() -> None:
    right = [True] * 90 + [False] * 10
    score = exact_match("see", right)
    change = paired_match(score, score, right, right)
    assert change.difference == change.loss == 0
    assert -0.03 < change.low < 0 < change.high < 0.03


def test_losses_count_against_gains() -> None:
    were = [True] * 80 + [False] * 20
    are = [False] * 20 + [True] * 60 + [True] * 5 + [False] * 15
    change = paired_match(exact_match("see", were), exact_match("see", are), were, are)
    assert change.difference == pytest.approx(-0.15) and change.loss == pytest.approx(0.15)
    assert change.low < -0.15 < change.high < 0 and 0 < change.sure_loss < change.loss
    # Agresti and Min by hand: b = 5.5, c = 20.5, n = 102
    half_width = 1.959964 * np.sqrt(26 - 15**2 / 102) / 102
    assert change.low == pytest.approx(-15 / 102 - half_width, rel=1e-5)
    back = paired_match(change.after, change.before, are, were)
    assert back.low == pytest.approx(-change.high) and back.loss == pytest.approx(-0.15)


def test_more_word_errors_are_a_loss() -> None:
    words = [4] * 100
    were, are = [0] * 100, [1] * 30 + [0] * 70
    change = paired_word_errors(
        word_error_rate("speak", were, words), word_error_rate("speak", are, words),
        were, are, words,
    )  # fmt: skip
    assert change.difference == change.loss == pytest.approx(0.075)
    assert 0 < change.sure_loss == change.low < 0.075 < change.high
