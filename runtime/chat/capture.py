"""When each sample that was sent had been spoken."""

from __future__ import annotations

from collections import deque

from omnijet.runtime.chat.playback import RATE_HZ

_MOST = 4096  # pieces, a minute or more of them


class Capture:
    """Counts what was sent of a microphone's sound, and remembers when it was there.

    Args:
        paced: whether the sound comes as fast as it was spoken; else each piece is there at once.
    """

    def __init__(self, paced: bool = True) -> None:
        self._paced = paced
        self.samples = 0
        self._marks: deque[tuple[int, float]] = deque(maxlen=_MOST)

    def note(self, count: int, at: float) -> None:
        """Takes how many samples were sent, the last of which was spoken `at`."""
        self.samples += count
        self._marks.append((self.samples, at))

    def time_of(self, milliseconds: float) -> float | None:
        """Returns when the sample so many milliseconds into all that was sent was spoken."""
        wanted = milliseconds * RATE_HZ / 1000
        for samples, at in self._marks:
            if samples >= wanted:
                return at - (samples - wanted) / RATE_HZ if self._paced else at
        return self._marks[-1][1] if self._marks else None
