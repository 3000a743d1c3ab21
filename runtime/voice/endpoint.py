"""The interface of what says that a speaker has finished: a pause, or something that listens."""

from __future__ import annotations

from typing import Protocol

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.voice.detector import RATE_HZ, Pauses


class Endpoint(Protocol):
    """Says when a turn is over. One thread at a time uses it.

    A model that listens keeps what `hear` gives it, and judges when a pause has begun.
    """

    def begin(self) -> None:
        """Takes that somebody begins to speak."""
        ...

    def hear(self, samples: Array) -> None:
        """Takes f32[n] in [-1, 1] at 16 kHz: all that is heard, in order, silence included."""
        ...

    def is_over(self, paused: int) -> bool:
        """Returns whether the turn is over, after so many samples of silence, at least one."""
        ...


class FixedPause:
    """An `Endpoint` that waits for the pause of the settings, whatever was said."""

    def __init__(self, pauses: Pauses) -> None:
        self._silence = pauses.silence_ms * RATE_HZ // 1000

    def begin(self) -> None:
        """See `Endpoint.begin`."""

    def hear(self, samples: Array) -> None:
        """See `Endpoint.hear`."""

    def is_over(self, paused: int) -> bool:
        """See `Endpoint.is_over`."""
        return paused >= self._silence
