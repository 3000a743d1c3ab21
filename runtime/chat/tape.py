"""Recordings in place of a microphone, and nothing in place of a speaker."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.chat.playback import RATE_HZ, Playback
from omnijet.runtime.chat.sound import WAIT_S
from omnijet.runtime.chat.transport import Heard, Put

FRAME = RATE_HZ // 50  # 20 ms
_BLOCK = RATE_HZ  # samples that are put at once where time does not count


class Tape:
    """A `Sound` whose microphone plays recordings, and whose speaker is not heard.

    In real time, a recording takes as long as it is, silence follows it, and a reply sounds as
    long as it lasts. Otherwise a recording is there at once, with a silence after it, and a reply
    has sounded as soon as it has come.

    Args:
        recordings: f32[n] at 24 kHz each; the first is played when `next` is called.
        silence_s: what follows a recording at the least.
        playback: what is pulled; None: somebody else does that.
        put: takes what is heard.
        in_real_time: which of the two.
        clock: in seconds.
    """

    def __init__(
        self,
        recordings: Sequence[Array],
        silence_s: float,
        playback: Playback | None,
        put: Put,
        in_real_time: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        silence = np.zeros(round(silence_s * RATE_HZ), np.float32)
        self._rest = [np.concatenate((one, silence)) for one in recordings]
        self._hears = bool(recordings) and silence_s > 0  # silence goes on between recordings
        self._now: Array = np.zeros(0, np.float32)
        self._playback, self._put, self._clock = playback, put, clock
        self._in_real_time = in_real_time
        self._due = clock()

    @property
    def has_more(self) -> bool:
        """Whether a recording was not begun."""
        return bool(self._rest)

    @property
    def is_over(self) -> bool:
        """Whether the recording and its silence were heard."""
        return not self._now.size

    def next(self) -> None:
        """Begins the next recording."""
        self._now = self._rest.pop(0)

    def start(self) -> None:
        """See `Sound.start`."""
        self._due = self._clock()

    def wait_s(self) -> float:
        """See `Sound.wait_s`."""
        if self._in_real_time:
            return max(0.0, min(self._due - self._clock(), WAIT_S))
        return 0.0 if self._now.size else WAIT_S

    def step(self) -> None:
        """See `Sound.step`."""
        if not self._in_real_time:
            while self._now.size:
                self._hear(self._now[:_BLOCK], self._clock())
                self._now = self._now[_BLOCK:]
            if self._playback is not None and (count := self._playback.buffered):
                self._playback.pull(count)
            return
        while self._due <= self._clock():
            self._frame(self._due)
            self._due += FRAME / RATE_HZ

    def close(self) -> None:
        """See `Sound.close`."""
        self._rest.clear()
        self._now = self._now[:0]

    def _frame(self, at: float) -> None:
        """Hears and plays the 20 ms before a moment."""
        heard, self._now = self._now[:FRAME], self._now[FRAME:]
        if self._hears:
            heard = np.pad(heard, (0, FRAME - len(heard)))
        if heard.size:
            self._hear(heard, at)
        if self._playback is not None:
            self._playback.pull(FRAME)

    def _hear(self, samples: Array, at: float) -> None:
        self._put(Heard(samples, at))
