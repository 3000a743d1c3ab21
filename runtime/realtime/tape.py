"""The last stretch of a sound that goes on, by position."""

from __future__ import annotations

from collections import deque

import numpy as np

from omnijet.runtime.bundle.contract import Array


class Tape:
    """Keeps f32 samples from some position on.

    Attributes:
        begin, end: positions of the first sample that is kept, and of the next that comes.
    """

    def __init__(self) -> None:
        self._pieces: deque[Array] = deque()
        self.begin = self.end = 0

    def add(self, samples: Array) -> None:
        """Adds f32[n] at the end."""
        if samples.size:
            self._pieces.append(samples)
            self.end += samples.size

    def between(self, first: int, stop: int) -> Array:
        """Returns f32[stop - first], as far as it is kept."""
        found, place = [np.empty(0, np.float32)], self.begin
        for piece in self._pieces:
            if place + piece.size > first and place < stop:
                found.append(piece[max(first - place, 0) : stop - place])
            place += piece.size
        return np.concatenate(found)

    def forget_before(self, position: int) -> None:
        """Lets go of whole pieces before a position."""
        while self._pieces and self.begin + self._pieces[0].size <= position:
            self.begin += self._pieces.popleft().size
