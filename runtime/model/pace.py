"""How many rows a decode step should have: what a step costs against what its rows may bring.

On a CPU a step of one row waits for the weights to come from memory, and a few more rows cost
little; how little differs with the machine, the numbers of the weights and the length of the
caches. So it is measured, with the steps that are made anyway.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from statistics import median

SIZES = (1, 2, 3, 4, 6, 8, 12, 16)
"""The rows that a step may have: each number of rows needs buffers of its own."""
GAIN = 1.05
"""How much faster tokens must come than one by one: less drowns in noise."""
KEPT, LIFE = 5, 512
"""Seconds are the median of the last steps, and are forgotten so many steps later."""
REFRESHED = 48
"""The most steps after which a step of one row shows what it costs now."""
WARM = 4
"""Runs of a new binding that tell nothing: buffers are touched, work is captured."""


class Pace:
    """The seconds of steps by capacity and rows, shared by all turns of a model.

    Threads: several may use it at once; at worst a sample is lost.
    """

    def __init__(self) -> None:
        self._costs: dict[int, _Costs] = {}

    def note(self, capacity: int, rows: int, seconds: float) -> None:
        """Adds what a step took."""
        self._of(capacity).note(rows, seconds)

    def rows(self, capacity: int, chances: Sequence[float], most: int) -> int:
        """Returns how many rows bring the most tokens a second.

        Args:
            capacity: of the caches.
            chances: of each guess, that it comes true if those before it do.
            most: rows that a step can have.
        """
        return self._of(capacity).best(chances, most)

    def _of(self, capacity: int) -> _Costs:
        return self._costs.setdefault(capacity.bit_length(), _Costs())


class _Costs:
    """The seconds of steps of similar capacities."""

    def __init__(self) -> None:
        self._samples: dict[int, deque[float]] = {}
        self._noted: dict[int, int] = {}  # the number of the last step with so many rows
        self._steps = 0

    def note(self, rows: int, seconds: float) -> None:
        self._steps += 1
        if self._steps - self._noted.get(rows, self._steps) > LIFE:
            del self._samples[rows]
        self._samples.setdefault(rows, deque(maxlen=KEPT)).append(seconds)
        self._noted[rows] = self._steps

    def best(self, chances: Sequence[float], most: int) -> int:
        one = self._samples.get(1)
        if not chances or one is None or len(one) < KEPT:
            return 1
        if self._steps - self._noted[1] >= REFRESHED:
            return 1
        tokens, chance = [1.0], 1.0  # tokens that so many rows bring, on average
        for each in chances:
            chance *= each
            tokens.append(tokens[-1] + chance)
        best, speed = 1, GAIN / median(one)
        for rows, seconds in self._known(min(most, len(tokens))):
            if tokens[rows - 1] / seconds > speed:
                best, speed = rows, tokens[rows - 1] / seconds
        return best

    def _known(self, most: int) -> list[tuple[int, float]]:
        """Returns rows beyond one with their seconds; the first that nobody knows is tried."""
        found = [(1, median(self._samples[1]))]
        for rows in SIZES[1:]:
            if rows > most:
                break
            samples = self._samples.get(rows)
            if samples and self._steps - self._noted[rows] <= LIFE:
                found.append((rows, median(samples)))
            else:
                found.append((rows, _further(found, rows)))
                break
        return found[1:]


def _further(found: Sequence[tuple[int, float]], rows: int) -> float:
    """Returns the seconds of more rows than were measured, along the last line; of two rows, those
    of one.
    """
    (last, seconds), (before, less) = found[-1], found[max(len(found) - 2, 0)]
    slope = max(seconds - less, 0.0) / (last - before) if last > before else 0.0
    return seconds + slope * (rows - last)
