"""Scores by loudness alone: for a quiet room and a headset, and without a package."""

from __future__ import annotations

import numpy as np

from omnijet.runtime.bundle.contract import Array

SAMPLES = 512
QUIETEST_DB = -70.0
START_DB = -50.0  # a guess of the room before it was heard
LEAST_DB, SURE_DB = 6.0, 18.0  # above the room: certainly none of it, certainly none of the room
RISE_DB = 0.02  # of the room in a piece: 0.6 dB a second, less than speech lasts


class EnergyScorer:
    """Scores how much louder than the room a piece of 32 ms is.

    The room is the quietest that was heard of late. Everything loud counts as speech: music, a
    door, a keyboard.
    """

    samples = SAMPLES

    def __init__(self) -> None:
        self._room_db = START_DB

    def score(self, piece: Array) -> float:
        """See `Scorer.score`."""
        power = float(np.mean(np.square(piece, dtype=np.float64)))
        loud_db = max(10 * np.log10(power + 1e-12), QUIETEST_DB)
        self._room_db = min(self._room_db + RISE_DB, loud_db)
        return float(np.clip((loud_db - self._room_db - LEAST_DB) / (SURE_DB - LEAST_DB), 0, 1))

    def reset(self) -> None:
        """See `Scorer.reset`. The room stays what it is."""
