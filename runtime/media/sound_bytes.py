"""Speech as the content of a sound file, in the formats that clients ask for."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
import soundfile

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.media.wav import pcm16

SoundFormat = Literal["wav", "pcm16", "mp3", "opus", "flac"]
SOUND_FORMATS: dict[SoundFormat, str] = {
    "wav": "audio/wav",
    "pcm16": "audio/L16;rate=24000;channels=1",
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "flac": "audio/flac",
}
"""Formats, with their media types. `pcm16` has no header; opus is in Ogg."""

_FILES = {
    "wav": ("WAV", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "opus": ("OGG", "OPUS"),
    "flac": ("FLAC", "PCM_16"),
}
_PIECE = 1 << 14  # libsndfile's Opus writes beyond a buffer of its own if it gets much at once


def sound_bytes(samples: Array, sample_rate_hz: int, form: SoundFormat) -> bytes:
    """Returns f32[samples] in [-1, 1] as the content of a mono file of 16-bit samples.

    Args:
        sample_rate_hz: of the samples; Opus knows 8, 12, 16, 24 and 48 kHz.
        form: one of `SOUND_FORMATS`. No samples are no bytes in some of them.

    Threads: any thread may call it.
    """
    packed = pcm16(samples)
    if form == "pcm16":
        return packed
    kind, subtype = _FILES[form]
    made = io.BytesIO()
    with soundfile.SoundFile(
        made, "w", sample_rate_hz, channels=1, format=kind, subtype=subtype
    ) as file:
        quantized = np.frombuffer(packed, "<i2")
        for start in range(0, len(quantized), _PIECE):
            file.write(quantized[start : start + _PIECE])
    return made.getvalue()
