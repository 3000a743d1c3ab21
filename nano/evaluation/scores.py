"""Scores with 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Z = 1.959963984540054  # two-sided 95 % quantile of the normal distribution
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Score:
    """One row of the table.

    Attributes:
        name: The name of the row.
        kind: "exact match" (more is better) or "word error rate" (less is better).
        value: The score as a fraction.
        low: The lower end of the 95 % interval.
        high: The upper end of the 95 % interval.
        items: The number of items.
    """

    name: str
    kind: str
    value: float
    low: float
    high: float
    items: int


def exact_match(name: str, right: Sequence[bool]) -> Score:
    """Scores the share of right answers with Wilson's interval (1927), which holds near one."""
    count = len(right)
    share = sum(right) / count
    half_width = Z * math.sqrt(share * (1 - share) / count + Z * Z / (4 * count * count))
    middle = share + Z * Z / (2 * count)
    scale = 1 + Z * Z / count
    low, high = (middle - half_width) / scale, (middle + half_width) / scale
    return Score(name, "exact match", share, max(0.0, low), min(1.0, high), count)


def word_error_rate(name: str, errors: Sequence[int], words: Sequence[int]) -> Score:
    """Scores word edits over words of all items, with a bootstrap interval over items.

    Args:
        name: The name of the row.
        errors: The word edits of each item.
        words: The number of words in each right answer.
    """
    wrong, of = np.array(errors, np.float64), np.array(words, np.float64)
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(wrong), size=(RESAMPLES, len(wrong)))
    rates = wrong[drawn].sum(1) / of[drawn].sum(1)
    low, high = np.quantile(rates, (0.025, 0.975))
    value = float(wrong.sum() / of.sum())
    return Score(name, "word error rate", value, float(low), float(high), len(wrong))


def word_errors(wanted: Sequence[str], got: Sequence[str]) -> int:
    """Counts the least insertions, deletions and substitutions of words (Levenshtein 1966)."""
    row = list(range(len(got) + 1))
    for number, word in enumerate(wanted, start=1):
        diagonal, row[0] = row[0], number
        for at, other in enumerate(got, start=1):
            best = min(row[at] + 1, row[at - 1] + 1, diagonal + (word != other))
            diagonal, row[at] = row[at], best
    return row[-1]
