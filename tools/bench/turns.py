"""Two sides that take turns, so that both meet the same machine."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter


def race(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> list[float]:
    """Returns the median milliseconds of both; the first round is not counted."""
    sides = (ours, theirs)
    times: list[list[float]] = [[], []]
    for round_ in range(rounds + 1):
        for call, taken in zip(sides, times, strict=True):
            began = perf_counter()
            call()
            if round_:
                taken.append(1e3 * (perf_counter() - began))
    return [median(taken) for taken in times]
