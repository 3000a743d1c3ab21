"""Raw PCM: samples without a header, whose format the user has to say."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 100, 10_000_000
MAX_CHANNELS = 64
EXAMPLE = "s16le:16000:1"

# FFmpeg's name, and libsndfile's subtype and byte order
ENCODINGS: dict[str, tuple[str, str]] = {
    "s8": ("PCM_S8", "FILE"),
    "u8": ("PCM_U8", "FILE"),
    "s16le": ("PCM_16", "LITTLE"),
    "s16be": ("PCM_16", "BIG"),
    "s24le": ("PCM_24", "LITTLE"),
    "s24be": ("PCM_24", "BIG"),
    "s32le": ("PCM_32", "LITTLE"),
    "s32be": ("PCM_32", "BIG"),
    "f32le": ("FLOAT", "LITTLE"),
    "f32be": ("FLOAT", "BIG"),
    "f64le": ("DOUBLE", "LITTLE"),
    "f64be": ("DOUBLE", "BIG"),
    "mulaw": ("ULAW", "FILE"),
    "alaw": ("ALAW", "FILE"),
}


@dataclass(frozen=True, slots=True)
class RawFormat:
    """How raw samples are written.

    Attributes:
        encoding: one of `ENCODINGS`.
    """

    encoding: str
    rate_hz: int
    channels: int

    @staticmethod
    def parse(text: str) -> RawFormat:
        """Reads `ENCODING:RATE:CHANNELS`. Raises `ValueError` that says what is wrong."""
        expected = f"expected ENCODING:RATE:CHANNELS, for example {EXAMPLE}"
        parts = text.strip().lower().split(":")
        if len(parts) != 3:
            raise ValueError(f"{expected}, not {text!r}")
        encoding, rate, channels = parts
        if encoding not in ENCODINGS:
            near = difflib.get_close_matches(encoding, ENCODINGS, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(ENCODINGS)}"
            raise ValueError(f"unknown encoding {encoding!r}; {hint}")
        if not _within(rate, LOWEST_RATE_HZ, HIGHEST_RATE_HZ):
            limits = f"{LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ:,} Hz"
            raise ValueError(f"the sample rate must be {limits}, not {rate!r}")
        if not _within(channels, 1, MAX_CHANNELS):
            raise ValueError(f"the channels must be 1 to {MAX_CHANNELS}, not {channels!r}")
        return RawFormat(encoding, int(rate), int(channels))


def _within(text: str, lowest: int, highest: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 12 and lowest <= int(text) <= highest
