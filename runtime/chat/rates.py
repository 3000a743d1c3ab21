"""Sound between the rate of a device and that of a conversation."""

from __future__ import annotations

import numpy as np
import soxr

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.chat.playback import RATE_HZ, Playback


class ToChat:
    """Takes pieces at a device's rate; returns them at 24 kHz."""

    def __init__(self, rate_hz: float) -> None:
        self._stream = _resampler(rate_hz, RATE_HZ)

    def take(self, samples: Array) -> Array:
        """Takes f32[n]; returns f32[m], later than it came by a few milliseconds."""
        if self._stream is None:
            return samples
        made: Array = self._stream.resample_chunk(samples)
        return made


class FromChat:
    """Pulls from a playback what a device of another rate asks for.

    Args:
        rate_hz: of the device.
    """

    def __init__(self, playback: Playback, rate_hz: float) -> None:
        self._playback = playback
        self._stream = _resampler(RATE_HZ, rate_hz)
        self._ready: Array = np.zeros(0, np.float32)

    def pull(self, count: int) -> Array:
        """Returns f32[count]."""
        if self._stream is None:
            return self._playback.pull(count)
        while len(self._ready) < count:
            more = self._stream.resample_chunk(self._playback.pull(RATE_HZ // 100))
            self._ready = np.concatenate((self._ready, more))
        taken, self._ready = self._ready[:count], self._ready[count:]
        return taken


def _resampler(from_hz: float, to_hz: float) -> soxr.ResampleStream | None:
    if from_hz == to_hz:
        return None
    return soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality="HQ")
