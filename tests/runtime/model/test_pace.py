"""Rows of a step: what brings most, what is tried, and when nothing is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from omnijet.runtime.model.pace import GAIN, KEPT, LIFE, REFRESHED, SIZES, Pace

Cost = Callable[[int], float]
CAPACITY = 512


def run(
    pace: Pace, cost: Cost, chances: Sequence[float], steps: int, noise: float = 0.0, seed: int = 0
) -> Counter[int]:
    """Makes steps whose guesses come true as likely as `chances` say; returns rows by steps."""
    rng = np.random.default_rng(seed)
    made: Counter[int] = Counter()
    for _ in range(steps):
        rows = pace.rows(CAPACITY, chances, 16)
        pace.note(CAPACITY, rows, cost(rows) * (1 + noise * rng.random()))
        made[rows] += 1
    return made


def speed(cost: Cost, rows: int, chance: float) -> float:
    return sum(chance**n for n in range(rows)) / cost(rows)


@pytest.mark.parametrize("chance", [0.2, 0.5, 0.8, 0.95, 1.0])
@pytest.mark.parametrize("slope", [0.01, 0.1, 0.3, 0.7, 1.0])
def test_the_best_rows_are_found(chance: float, slope: float) -> None:
    def cost(rows: int) -> float:
        return 0.05 * (1 + slope * (rows - 1))

    made = run(Pace(), cost, [chance] * 15, 400, noise=0.02)
    usual = made.most_common(1)[0][0]
    best = max(speed(cost, rows, chance) for rows in SIZES)
    assert speed(cost, usual, chance) > best / GAIN / 1.02
    tokens = sum(sum(chance**n for n in range(rows)) * count for rows, count in made.items())
    seconds = sum(cost(rows) * count for rows, count in made.items())
    assert tokens / seconds > 0.9 * best, "trials and refreshes cost little"
    assert tokens / seconds > 0.99 * speed(cost, 1, chance), "and nothing where guesses do not pay"


def test_nothing_is_guessed_before_one_row_is_known() -> None:
    pace = Pace()
    made = [pace.rows(CAPACITY, [1.0] * 15, 16)]
    for _ in range(KEPT):
        assert made[-1] == 1
        pace.note(CAPACITY, 1, 0.05)
        made.append(pace.rows(CAPACITY, [1.0] * 15, 16))
    assert made[-1] == 2, "and then little is tried first"


def test_no_more_rows_than_there_are_guesses_or_room() -> None:
    pace = Pace()
    run(pace, lambda rows: 0.05, [1.0] * 15, 100)
    assert pace.rows(CAPACITY, [1.0] * 15, 16) == 16
    assert pace.rows(CAPACITY, [1.0] * 6, 16) == 6  # 7 is no size
    assert pace.rows(CAPACITY, [1.0] * 15, 3) == 3
    assert pace.rows(CAPACITY, [1.0] * 15, 1) == pace.rows(CAPACITY, [], 16) == 1


def test_one_row_is_measured_again_and_again() -> None:
    made = run(Pace(), lambda rows: 0.05, [1.0] * 15, 1000)
    assert 1000 / REFRESHED - 2 <= made[1] - KEPT <= 1000 / REFRESHED + 2


def test_what_costs_too_much_is_tried_again_later() -> None:
    """A machine that was busy at the wrong moment is not held against it for ever."""
    pace = Pace()
    run(pace, lambda rows: 0.05 * rows**2, [1.0] * 15, 100)
    assert pace.rows(CAPACITY, [1.0] * 15, 16) == 1
    made = run(pace, lambda rows: 0.05, [1.0] * 15, 2 * LIFE)
    assert made[16] > LIFE / 2


def test_a_long_cache_has_costs_of_its_own() -> None:
    pace = Pace()
    run(pace, lambda rows: 0.05, [1.0] * 15, 100)
    assert pace.rows(2 * CAPACITY, [1.0] * 15, 16) == 1
    assert pace.rows(CAPACITY + 256, [1.0] * 15, 16) == 16
