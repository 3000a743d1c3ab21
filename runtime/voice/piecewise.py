"""A detector that scores a sound piece by piece."""

from __future__ import annotations

import numpy as np

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.voice.detector import Edge, Pauses
from omnijet.runtime.voice.endpoint import Endpoint, FixedPause
from omnijet.runtime.voice.hysteresis import Hysteresis
from omnijet.runtime.voice.scorer import Scorer

_NOTHING = np.zeros(0, np.float32)


class PiecewiseDetector:
    """Cuts what is pushed into the pieces that a scorer wants: a `Detector`.

    What it finds does not depend on how the sound was cut before it was pushed.

    Args:
        scorer: says how likely a piece is speech.
        pauses: when speech begins and ends.
        endpoint: says when a turn is over; by default, the pause of the settings.
    """

    def __init__(self, scorer: Scorer, pauses: Pauses, endpoint: Endpoint | None = None) -> None:
        self._scorer = scorer
        self._endpoint = endpoint or FixedPause(pauses)
        self._edges = Hysteresis(pauses, self._endpoint)
        self._rest = _NOTHING  # less than a piece
        self._scored = 0  # samples before `_rest`

    def push(self, samples: Array) -> list[Edge]:
        """See `Detector.push`."""
        size = self._scorer.samples
        sound = np.concatenate((self._rest, samples)) if self._rest.size else samples
        found: list[Edge] = []
        for start in range(0, len(sound) - size + 1, size):
            piece = sound[start : start + size]
            score = self._scorer.score(piece)
            self._endpoint.hear(piece)
            found += self._edges.follow(score, self._scored, self._scored + size)
            self._scored += size
        rest = len(sound) % size
        # a copy: the caller's array may be large, or be written again
        self._rest = np.array(sound[len(sound) - rest :], np.float32) if rest else _NOTHING
        return found

    def reset(self) -> None:
        """See `Detector.reset`."""
        self._scored += len(self._rest)
        self._rest = _NOTHING
        self._edges.forget(self._scored)
        self._scorer.reset()
