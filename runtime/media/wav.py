"""Writes results to files: speech as WAV, and every file completely or not at all."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import soundfile

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.leftovers import leftover


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
    """
    scaled: Array = np.clip(np.floor(samples * np.float32(32768)), -32768, 32767)
    return scaled.astype("<i2").tobytes()


def write_whole(path: Path, content: bytes) -> None:
    """Writes a temporary file beside the target and renames it, so that no partial file is left.

    Links are followed; devices and pipes are written directly.

    Raises:
        OSError: the file cannot be written; nothing is left behind.
    """
    target = Path(os.path.realpath(path))
    if _is_special(target):
        target.write_bytes(content)
        return
    beside = _beside(target)
    with leftover(lambda: beside.unlink(missing_ok=True)):
        try:
            beside.write_bytes(content)
            os.replace(beside, target)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


def check_writable(path: Path) -> None:
    """Checks before minutes of work that their result can be written.

    Raises:
        OmnijetError: the file cannot be written.
    """
    got = None
    try:
        target = Path(os.path.realpath(path))
        if target.is_dir():
            got = "a folder"
        elif not target.parent.is_dir():
            got = f"no folder {target.parent}"
        elif not _is_special(target):
            target.with_name(target.name).exists()  # raises on a name that no file can have
            beside = _beside(target)
            beside.write_bytes(b"")
            beside.unlink()
    except (OSError, ValueError) as error:
        got = getattr(error, "strerror", None) or str(error)
    if got is not None:
        raise OmnijetError(
            "the output file cannot be written",
            where=path,
            expected="a file in a folder that exists and that you may write to",
            got=got,
        )


def _beside(target: Path) -> Path:
    return target.with_name(f".omnijet-{os.getpid()}.partial")


def _is_special(target: Path) -> bool:
    return target.exists() and not target.is_file()
