"""Speech as a WAV file."""

from __future__ import annotations

import io
import os
from pathlib import Path

import soundfile

from runtime.contract import Array


def write_wav(path: Path, samples: Array, sample_rate_hz: int) -> None:
    """Writes f32[samples] in [-1, 1] as 16-bit mono PCM: beside, then renamed.

    Raises:
        OSError: the file cannot be written; nothing is left behind.
    """
    # in memory first: libsndfile would turn a full disk into an error of its own
    wav = io.BytesIO()
    soundfile.write(wav, samples, sample_rate_hz, format="WAV", subtype="PCM_16")
    beside = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        beside.write_bytes(wav.getvalue())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
