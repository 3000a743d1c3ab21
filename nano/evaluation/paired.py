"""What a change did to the scores: the same items asked of two bundles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from omnijet.nano.evaluation.scores import RESAMPLES, Score, Z


@dataclass(frozen=True, slots=True)
class ScoreChange:
    """A score before and after.

    Attributes:
        difference: after less before, in parts of one.
        low, high: its 95 % interval, item by item: narrower than what the scores' own
            intervals suggest, because both met the same items.
    """

    before: Score
    after: Score
    difference: float
    low: float
    high: float

    @property
    def loss(self) -> float:
        """How much worse it is; negative if it is better."""
        return -self.difference if self.before.kind == "exact match" else self.difference

    @property
    def sure_loss(self) -> float:
        """How much worse it is at least, in 39 of 40 cases."""
        return -self.high if self.before.kind == "exact match" else self.low


def paired_match(
    before: Score, after: Score, were: Sequence[bool], are: Sequence[bool]
) -> ScoreChange:
    """Of exact matches, item by item. Source of the interval: Agresti and Min, Simple improved
    confidence intervals for comparing matched proportions, Statistics in Medicine 24 (2005):
    half an item is added to each of the four outcomes, so that no change is no certainty."""
    pairs = list(zip(were, are, strict=True))
    gained = sum(now and not then for then, now in pairs) + 0.5
    lost = sum(then and not now for then, now in pairs) + 0.5
    count = len(pairs) + 2
    middle = (gained - lost) / count
    spread = Z * math.sqrt(gained + lost - (gained - lost) ** 2 / count) / count
    low, high = max(-1.0, middle - spread), min(1.0, middle + spread)
    return ScoreChange(before, after, after.value - before.value, low, high)


def paired_word_errors(
    before: Score,
    after: Score,
    were: Sequence[int],
    are: Sequence[int],
    words: Sequence[int],
) -> ScoreChange:
    """Of word error rates, item by item; the interval by bootstrap over items."""
    change = np.array(are, np.float64) - np.array(were, np.float64)
    of = np.array(words, np.float64)
    drawn = np.random.default_rng(0).integers(len(of), size=(RESAMPLES, len(of)))
    rates = change[drawn].sum(1) / of[drawn].sum(1)
    low, high = np.quantile(rates, (0.025, 0.975))
    return ScoreChange(before, after, after.value - before.value, float(low), float(high))
