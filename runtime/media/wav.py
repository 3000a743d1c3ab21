"""Speech as 16-bit PCM, and as a WAV file."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.files.whole_file import write_whole


def write_wav(path: Path, samples: Array, sample_rate_hz: int) -> None:
    """Writes f32[samples] in [-1, 1] as 16-bit mono PCM, see `write_whole`."""
    # in memory first: libsndfile would turn a full disk into an error of its own
    wav = io.BytesIO()
    quantized = np.frombuffer(pcm16(samples), "<i2")
    soundfile.write(wav, quantized, sample_rate_hz, format="WAV", subtype="PCM_16")
    write_whole(path, wav.getvalue())


def pcm16(samples: Array) -> bytes:
    """Returns f32[samples] in [-1, 1] as 16-bit little-endian PCM; louder samples are clipped.

    The numbers are those that libsndfile writes of floats: 32768 is full scale, the fraction
    is dropped.

    Threads: any thread may call it.
    """
    scaled: Array = np.clip(np.floor(samples * np.float32(32768)), -32768, 32767)
    return scaled.astype("<i2").tobytes()
