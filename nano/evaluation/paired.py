"""Compares the scores of two bundles on the same items."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from omnijet.nano.evaluation.scores import RESAMPLES, Score, Z


@dataclass(frozen=True, slots=True)
class ScoreChange:
    """A score before and after a change.

    Attributes:
        before: The score before.
        after: The score after.
        difference: The score after minus the score before, as a fraction.
        low: The lower end of the difference's paired 95 % interval. This interval is narrower
            than the scores' own intervals suggest, because both bundles answer the same items.
        high: The upper end of that interval.
    """

    before: Score
    after: Score
    difference: float
    low: float
    high: float

    @property
    def loss(self) -> float:
        """Returns how much worse the score is; negative if it is better."""
        return -self.difference if self.before.kind == "exact match" else self.difference

    @property
    def sure_loss(self) -> float:
        """The near end of the 95 % interval: the real loss is larger, with 97.5 % confidence."""
        return -self.high if self.before.kind == "exact match" else self.low


def paired_match(
    before: Score, after: Score, were: Sequence[bool], are: Sequence[bool]
) -> ScoreChange:
    """Compares two exact-match scores item by item.

    The interval adds half an item to each of the four outcomes, so that even equal answers
    leave some uncertainty (Agresti and Min, Simple improved confidence intervals for comparing
    matched proportions, Statistics in Medicine 24, 2005).

    Args:
        before: The score before.
        after: The score after.
        were: Whether each answer before was right.
        are: Whether each answer after is right.
    """
    pairs = list(zip(were, are, strict=True))
    gained = sum(now and not then for then, now in pairs) + 0.5
    lost = sum(then and not now for then, now in pairs) + 0.5
    count = len(pairs) + 2
    middle = (gained - lost) / count
    half_width = Z * math.sqrt(gained + lost - (gained - lost) ** 2 / count) / count
    low, high = max(-1.0, middle - half_width), min(1.0, middle + half_width)
    return ScoreChange(before, after, after.value - before.value, low, high)


def paired_word_errors(
    before: Score,
    after: Score,
    were: Sequence[int],
    are: Sequence[int],
    words: Sequence[int],
) -> ScoreChange:
    """Compares two word error rates item by item, with a bootstrap interval over items.

    Args:
        before: The score before.
        after: The score after.
        were: The word edits of each item before.
        are: The word edits of each item after.
        words: The number of words in each right answer.
    """
    change = np.array(are, np.float64) - np.array(were, np.float64)
    of = np.array(words, np.float64)
    drawn = np.random.default_rng(0).integers(len(of), size=(RESAMPLES, len(of)))
    rates = change[drawn].sum(1) / of[drawn].sum(1)
    low, high = np.quantile(rates, (0.025, 0.975))
    return ScoreChange(before, after, after.value - before.value, float(low), float(high))
