"""Scores of pieces to beginnings and ends of speech."""

from __future__ import annotations

from omnijet.runtime.voice.detector import RATE_HZ, Edge, Pauses
from omnijet.runtime.voice.endpoint import Endpoint

CALM = 0.15
"""How far below the threshold a score must fall before a voice counts as silent, as Silero has it:
the score of one breath or consonant cuts no word."""
LEAST = 0.01  # a threshold near 0 still lets speech end


class Hysteresis:
    """Follows one voice by the scores of pieces that lie end to end.

    Args:
        pauses: when speech begins.
        endpoint: says when it ends.
    """

    def __init__(self, pauses: Pauses, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._high = pauses.threshold
        self._low = max(pauses.threshold - CALM, LEAST)
        self._prefix = _samples(pauses.prefix_ms)
        self._shortest = _samples(pauses.speech_ms)
        self._floor = 0  # no speech begins before it
        self._voice: tuple[int, int] | None = None  # where a voice begins, and ends so far
        self._speaks = False  # whether it is long enough to be speech

    def follow(self, score: float, start: int, end: int) -> list[Edge]:
        """Takes the score of the samples from `start` to `end`; returns what is certain now."""
        if score >= (self._high if self._voice is None else self._low):
            begin = start if self._voice is None else self._voice[0]
            self._voice = begin, end
            if not self._speaks and end - begin >= self._shortest:
                self._speaks = True
                self._endpoint.begin()
                return [Edge("started", max(begin - self._prefix, self._floor))]
        elif self._voice is not None and not self._speaks:
            self._voice = None
        elif self._voice is not None and self._endpoint.is_over(end - self._voice[1]):
            self._floor, self._voice, self._speaks = self._voice[1], None, False
            return [Edge("stopped", self._floor)]
        return []

    def forget(self, floor: int) -> None:
        """Leaves the speech it is in; the next one begins at `floor` or later."""
        self._floor, self._voice, self._speaks = floor, None, False


def _samples(milliseconds: int) -> int:
    return milliseconds * RATE_HZ // 1000
