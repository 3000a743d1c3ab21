"""Scores with their 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Z = 1.959963984540054  # of the normal distribution, two sides of 95 %
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Score:
    """One row of the table.

    Attributes:
        name: what was scored.
        kind: "exact match" (more is better) or "word error rate" (less is better).
        value, low, high: parts of one; the interval holds the true figure in 95 of 100 cases.
        items: how many were asked.
    """

    name: str
    kind: str
    value: float
    low: float
    high: float
    items: int


def exact_match(name: str, right: Sequence[bool]) -> Score:
    """Wilson's interval (1927): fit for shares near one."""
    count = len(right)
    share = sum(right) / count
    spread = Z * math.sqrt(share * (1 - share) / count + Z * Z / (4 * count * count))
    middle = share + Z * Z / (2 * count)
    scale = 1 + Z * Z / count
    low, high = (middle - spread) / scale, (middle + spread) / scale
    return Score(name, "exact match", share, max(0.0, low), min(1.0, high), count)


def word_error_rate(name: str, errors: Sequence[int], words: Sequence[int]) -> Score:
    """Errors over words of all items; the interval by bootstrap over items.

    Args:
        errors: word edits per item.
        words: of each item's right answer.
    """
    wrong, of = np.array(errors, np.float64), np.array(words, np.float64)
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(wrong), size=(RESAMPLES, len(wrong)))
    rates = wrong[drawn].sum(1) / of[drawn].sum(1)
    low, high = np.quantile(rates, (0.025, 0.975))
    value = float(wrong.sum() / of.sum())
    return Score(name, "word error rate", value, float(low), float(high), len(wrong))


def word_errors(wanted: Sequence[str], got: Sequence[str]) -> int:
    """Least number of words to put in, leave out or exchange (Levenshtein 1966)."""
    row = list(range(len(got) + 1))
    for number, word in enumerate(wanted, start=1):
        diagonal, row[0] = row[0], number
        for at, other in enumerate(got, start=1):
            best = min(row[at] + 1, row[at - 1] + 1, diagonal + (word != other))
            diagonal, row[at] = row[at], best
    return row[-1]
