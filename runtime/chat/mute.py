"""Closes the microphone while the speaker is heard: without an echo canceller it hears itself."""

from __future__ import annotations

import time
from collections.abc import Callable

from omnijet.runtime.chat.playback import Playback

TAIL_S = 0.35
"""How long a room and a device's own buffers go on after the last sample."""


class Mute:
    """Says whether what a microphone hears is the reply itself.

    Args:
        playback: what is heard.
        is_on: half duplex; else the microphone is never closed.
        clock: in seconds.
    """

    def __init__(
        self, playback: Playback, is_on: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._playback, self._is_on, self._clock = playback, is_on, clock
        self._until = -1.0

    def covers(self, at: float) -> bool:
        """Returns whether what was heard `at` is to be left out."""
        if not self._is_on:
            return False
        now = self._clock()
        if self._playback.sounds:
            self._until = now + TAIL_S
        return at <= self._until
