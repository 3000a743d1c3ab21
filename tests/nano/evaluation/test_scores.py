"""Compares scores and intervals with known values."""

from __future__ import annotations

import numpy as np
import pytest

from omnijet.nano.evaluation.scores import exact_match, word_error_rate, word_errors


def test_wilson_against_published_values() -> None:
    # Newcombe 1998, table I: 81 of 263 -> 0.2553 to 0.3662, 15 of 148 -> 0.0624 to 0.1605
    score = exact_match("x", [True] * 81 + [False] * 182)
    assert (score.low, score.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    score = exact_match("x", [True] * 15 + [False] * 133)
    assert (score.low, score.high) == pytest.approx((0.0624, 0.1605), abs=5e-5)


def test_an_interval_at_the_ends_stays_inside() -> None:
    every, none = exact_match("x", [True] * 20), exact_match("x", [False] * 20)
    assert every.value == 1 and 0.8 < every.low < 0.9 and every.high == pytest.approx(1)
    assert none.value == 0 and none.low == pytest.approx(0) and 0.1 < none.high < 0.2


@pytest.mark.parametrize(
    ("wanted", "got", "errors"),
    [
        ("one two three", "one two three", 0),
        ("one two three", "one three", 1),
        ("one two three", "one two two three", 1),
        ("one two three", "nine two three", 1),
        ("one two", "", 2),
        ("one two", "two one", 2),
        ("one two three four", "two three four five", 2),
    ],
)
def test_word_errors(wanted: str, got: str, errors: int) -> None:
    assert word_errors(wanted.split(), got.split()) == errors


def test_the_bootstrap_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(60):
        words = rng.integers(1, 6, 120)
        score = word_error_rate("x", rng.binomial(words, 0.1).tolist(), words.tolist())
        inside += score.low <= 0.1 <= score.high
        assert score.low <= score.value <= score.high
    assert inside >= 52


def test_a_rate_weighs_words_and_is_repeatable() -> None:
    score = word_error_rate("x", [1, 0], [1, 9])
    assert score.value == pytest.approx(0.1)
    assert score == word_error_rate("x", [1, 0], [1, 9])
