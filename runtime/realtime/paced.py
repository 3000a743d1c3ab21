"""How much of an answer has sounded, as far as the server can tell without being told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from omnijet.runtime.realtime.sound_format import SPOKEN_HZ


class Paced:
    """Follows a player who plays what was sent at once, and waits where nothing came in time.

    So it says never more than was sent, nor than the time since the first sound allows. Threads:
    any thread may call any method.

    Attributes:
        sent: samples that were sent.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changing = threading.Lock()
        self._played, self._noted = 0.0, 0.0
        self._is_stopped = False
        self.sent = 0

    def send(self, samples: int) -> None:
        """Notes that so many samples at 24 kHz were sent."""
        with self._changing:
            self._advance()
            self.sent += samples

    def played(self) -> int:
        """Returns how many samples have sounded by now."""
        with self._changing:
            self._advance()
            return int(self._played)

    def stop(self) -> None:
        """Notes that the player was stopped: nothing sounds any more."""
        with self._changing:
            self._advance()
            self._is_stopped = True

    @property
    def is_over(self) -> bool:
        """Whether nothing sounds any more of what was sent."""
        return self._is_stopped or self.played() >= self.sent

    def _advance(self) -> None:
        now = self._clock()
        if self.sent and not self._is_stopped:
            self._played = min(self.sent, self._played + (now - self._noted) * SPOKEN_HZ)
        self._noted = now
