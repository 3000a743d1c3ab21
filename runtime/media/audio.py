"""Sound on the host: reads any file or array as 16 kHz mono.

Resampling follows `librosa.load` (mono first, then soxr HQ), which the model's published
loader calls.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import av
import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.source import Source, is_source, named, opened, readable

AudioSource: TypeAlias = Source | npt.NDArray[Any] | tuple[npt.NDArray[Any], int | float]

_log = logging.getLogger(__name__)

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 100, 10_000_000
MARGIN_SECONDS = 1.0  # read beyond the limit, so that the resampler's end effects lie outside


def load_audio(
    source: AudioSource,
    sample_rate_hz: int = 16_000,
    max_seconds: float = 300.0,
    where: object = None,
) -> Array:
    """Reads a sound as mono samples.

    Args:
        source: a `Source` that soundfile or FFmpeg reads (for a clip, its first sound track), an
            array [samples] or [samples, channels] at `sample_rate_hz`, or such an array with
            its rate. Integers (int16, int32) are full-scale PCM, floats are in [-1, 1].
        max_seconds: longer sounds are cut there with a warning, as in the reference.
        where: names the sound in messages; the path or "audio array" by default.

    Returns:
        f32[samples]

    Raises:
        OmnijetError: the sound cannot be read, is empty or holds NaN.
    """
    if is_source(source):
        where = named(source) if where is None else where
        found = readable(source, "sound", where)
        samples, rate = _read_file(found, max_seconds + MARGIN_SECONDS, where)
    else:
        where = "audio array" if where is None else where
        array, rate = source if isinstance(source, tuple) else (source, sample_rate_hz)
        samples = _from_array(np.asarray(array), where)
        if (
            isinstance(rate, bool)
            or not isinstance(rate, int | float)
            or not LOWEST_RATE_HZ <= rate <= HIGHEST_RATE_HZ
        ):
            raise OmnijetError(
                "the sample rate is unusable",
                where=where,
                expected=f"{LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ:,} Hz",
                got=rate,
            )
        samples = samples[: math.ceil((max_seconds + MARGIN_SECONDS) * rate)]
    if not len(samples):
        raise OmnijetError(
            "the sound is empty", where=where, expected="at least one sample", got="none"
        )
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise OmnijetError(
            "the sound holds values that are not finite",
            where=where,
            expected="samples in [-1, 1]",
            got=f"{int((~np.isfinite(mono)).sum())} NaN or infinite samples of {len(mono)}",
        )
    mono = _resample(mono, rate, sample_rate_hz)
    limit = int(max_seconds * sample_rate_hz)
    if len(mono) > limit:
        _log.warning("%s: only the first %g s of the sound are heard", where, max_seconds)
        mono = mono[:limit]
    return np.ascontiguousarray(mono)


def has_audio(source: Path | bytes) -> bool:
    """Returns whether a medium has a sound track. Raises `av.FFmpegError` or `OSError`."""
    with av.open(opened(source), "r") as container:
        return bool(container.streams.audio)


def _resample(mono: Array, rate: float, target: int) -> Array:
    """Resamples to the target rate: f32[ceil(samples * target / rate)]."""
    if rate == target:
        return mono.astype(np.float32, copy=False)
    length = math.ceil(len(mono) * target / rate)
    made = soxr.resample(mono.astype(np.float32, copy=False), rate, target, quality="HQ")
    if len(made) >= length:
        return np.asarray(made[:length], np.float32)
    return np.pad(made, (0, length - len(made))).astype(np.float32, copy=False)


def _from_array(array: npt.NDArray[Any], where: object) -> Array:
    """Returns f32[samples, channels] in [-1, 1]."""
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[1] < 1 or (array.shape[1] > max(8, array.shape[0])):
        raise OmnijetError(
            "the sound array has an unusable shape",
            where=where,
            expected="[samples] or [samples, channels]",
            got=array.shape,
            fix="transpose it if channels come first",
        )
    if array.dtype in (np.int16, np.int32):
        return (array / -float(np.iinfo(array.dtype).min)).astype(np.float32)
    if array.dtype.kind != "f":
        raise OmnijetError(
            "the sound array has an unusable dtype",
            where=where,
            expected="float in [-1, 1], or int16 or int32 PCM",
            got=array.dtype,
        )
    return array.astype(np.float32, copy=False)


def _read_file(source: Path | bytes, seconds: float, where: object) -> tuple[Array, float]:
    """Reads the first `seconds` of a file: f32[samples, channels] and the rate in Hz."""
    try:
        with soundfile.SoundFile(opened(source)) as file:
            samples = file.read(math.ceil(seconds * file.samplerate), np.float32, always_2d=True)
            return samples, float(file.samplerate)
    except (soundfile.LibsndfileError, OSError, RuntimeError) as first:
        try:
            return _read_container(source, seconds)
        except (av.FFmpegError, OSError, ValueError) as second:
            raise OmnijetError(
                "the sound cannot be read",
                where=where,
                expected="a sound file or a clip with sound",
                got=f"{first}; {second}",
                fix="convert it, for example: ffmpeg -i FILE out.wav",
            ) from second


def _read_container(source: Path | bytes, seconds: float) -> tuple[Array, float]:
    """Decodes the first sound track of a container with FFmpeg."""
    blocks: list[Array] = []
    rate, read = 0, 0
    with av.open(opened(source), "r") as container:
        if not container.streams.audio:
            raise ValueError("it has no sound track")
        for frame in _decode(container):
            # the rate of the frame, not of the track: HE-AAC announces half its rate
            rate = frame.sample_rate
            blocks.append(frame.to_ndarray().T)
            read += frame.samples
            if read >= seconds * rate:
                break
    if not blocks:
        return np.empty((0, 1), np.float32), 1.0
    channels = min(block.shape[1] for block in blocks)
    return np.concatenate([block[:, :channels] for block in blocks]), float(rate)


def _decode(container: av.container.InputContainer) -> Iterator[av.AudioFrame]:
    """Yields the frames of the first sound track as planar f32."""
    planar = av.AudioResampler(format="fltp")
    for frame in container.decode(audio=0):
        yield from planar.resample(frame)
    yield from planar.resample(None)
