"""The formats of sound that travel, and their way to and from the model's sample rates."""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import soxr

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.media.wav import pcm16
from omnijet.runtime.realtime.fault import Fault
from omnijet.runtime.realtime.g711 import decoded, encoded

Name = Literal["audio/pcm", "audio/pcmu", "audio/pcma"]
HEARD_HZ, SPOKEN_HZ = 16_000, 24_000  # what the model hears and says
FULL_SCALE = np.float32(32768)


@dataclass(frozen=True, slots=True)
class SoundFormat:
    """A format by its name in the API: 16-bit PCM at 24 kHz, or G.711 at 8 kHz; mono."""

    name: Name = "audio/pcm"

    @property
    def rate_hz(self) -> int:
        """Samples a second."""
        return 24_000 if self.name == "audio/pcm" else 8_000

    @property
    def width(self) -> int:
        """Bytes of a sample."""
        return 2 if self.name == "audio/pcm" else 1

    def wire(self) -> dict[str, object]:
        """Returns the format as a session has it."""
        rate = {"rate": self.rate_hz} if self.name == "audio/pcm" else {}
        return {"type": self.name, **rate}

    def samples(self, data: bytes) -> Array:
        """Returns f32[n] in [-1, 1] of whole samples."""
        if self.name == "audio/pcm":
            found = np.frombuffer(data, "<i2")
        else:
            found = decoded(data, "pcmu" if self.name == "audio/pcmu" else "pcma")
        return found.astype(np.float32) / FULL_SCALE

    def data(self, samples: Array) -> bytes:
        """Returns the bytes of f32[n] in [-1, 1]."""
        whole = pcm16(samples)
        if self.name == "audio/pcm":
            return whole
        return encoded(np.frombuffer(whole, "<i2"), "pcmu" if self.name == "audio/pcmu" else "pcma")


class Incoming:
    """Turns the bytes of a client into what the model hears, piece by piece.

    The samples do not depend on where the bytes were cut, not even within a sample.
    """

    def __init__(self, form: SoundFormat) -> None:
        self._form = form
        self._rest = b""
        self._resampler = soxr.ResampleStream(
            form.rate_hz, HEARD_HZ, 1, dtype="float32", quality="HQ"
        )
        self._read = self._made = 0

    @property
    def left(self) -> int:
        """How many samples `finish` will return."""
        return max(math.ceil(self._read * HEARD_HZ / self._form.rate_hz) - self._made, 0)

    def push(self, data: bytes) -> Array:
        """Adds bytes; returns f32[n] at 16 kHz, as far as it is certain."""
        data = self._rest + data
        whole = len(data) - len(data) % self._form.width
        self._rest = data[whole:]
        samples = self._form.samples(data[:whole])
        self._read += samples.size
        if not samples.size:
            return samples
        return self._counted(self._resampler.resample_chunk(samples))

    def finish(self) -> Array:
        """Ends the sound; returns what was held back: f32[n] at 16 kHz."""
        if not self._read:
            return np.empty(0, np.float32)
        rest = self._resampler.resample_chunk(np.empty(0, np.float32), last=True)
        rest = np.array(rest[: self.left], np.float32)
        return np.pad(rest, (0, max(self.left - rest.size, 0)))

    def _counted(self, samples: Array) -> Array:
        self._made += samples.size
        return np.array(samples, np.float32)


class Outgoing:
    """Turns what the model says into the bytes of a format, piece by piece."""

    def __init__(self, form: SoundFormat) -> None:
        self._form = form
        self._resampler = None
        if form.rate_hz != SPOKEN_HZ:
            self._resampler = soxr.ResampleStream(
                SPOKEN_HZ, form.rate_hz, 1, dtype="float32", quality="HQ"
            )

    def push(self, samples: Array) -> bytes:
        """Returns the bytes of f32[n] at 24 kHz, as far as they are certain."""
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(np.ascontiguousarray(samples))
        return self._form.data(samples)

    def finish(self) -> bytes:
        """Returns the bytes that were held back."""
        if self._resampler is None:
            return b""
        return self._form.data(self._resampler.resample_chunk(np.empty(0, np.float32), last=True))


def from_base64(text: str, path: str) -> bytes:
    """Returns the bytes of a client's text. Raises `Fault`."""
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Fault(f"{path} is no base64", "invalid_value", path) from error


def heard(data: bytes, form: SoundFormat) -> Array:
    """Returns a whole sound as the model hears it: f32[n] at 16 kHz."""
    incoming = Incoming(form)
    first = incoming.push(data)
    return np.concatenate([first, incoming.finish()])
