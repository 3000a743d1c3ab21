"""Sound on the host: any file or array to 16 kHz mono, and that to log-mel frames.

Resampling follows `librosa.load` (mono first, then soxr HQ), which the model's published
loader calls; the log-mel is that of `WhisperFeatureExtractor` of transformers 4.57.6.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import av
import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files import require_file, shorten

AudioSource: TypeAlias = (
    str | os.PathLike[str] | npt.NDArray[Any] | tuple[npt.NDArray[Any], int | float]
)

_log = logging.getLogger(__name__)

HIGHEST_MEL_HZ = 8000.0
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 100, 10_000_000
POWER_FLOOR = 1e-10
DYNAMIC_RANGE = 8.0  # decades below the loudest band that survive
BLOCK_FRAMES = 3000  # mel frames computed at once: bounds memory, stays in cache
MARGIN_SECONDS = 1.0  # read beyond the limit, so that the resampler's end effects lie outside


def load_audio(
    source: AudioSource,
    sample_rate_hz: int = 16_000,
    max_seconds: float = 300.0,
    where: object = None,
) -> Array:
    """Reads a sound as mono samples.

    Args:
        source: a file that soundfile or FFmpeg reads (for a clip, its first sound track), an
            array [samples] or [samples, channels] at `sample_rate_hz`, or such an array with
            its rate. Integers (int16, int32) are full-scale PCM, floats are in [-1, 1].
        max_seconds: longer sounds are cut there with a warning, as in the reference.
        where: names the sound in messages; the path or "audio array" by default.

    Returns:
        f32[samples]

    Raises:
        OmnijetError: the sound cannot be read, is empty or holds NaN.
    """
    if isinstance(source, str | os.PathLike):
        where = shorten(source) if where is None else where
        path = require_file(source, "sound", where)
        samples, rate = _read_file(path, max_seconds + MARGIN_SECONDS, where)
    else:
        where = "audio array" if where is None else where
        array, rate = source if isinstance(source, tuple) else (source, sample_rate_hz)
        samples = _from_array(np.asarray(array), where)
        if (
            isinstance(rate, bool)
            or not isinstance(rate, int | float)
            or not 100 <= rate <= 10_000_000
        ):
            raise OmnijetError(
                "the sample rate is unusable",
                where=where,
                expected="100 to 10,000,000 Hz",
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


def has_audio(path: Path) -> bool:
    """Returns whether a media file has a sound track. Raises `av.FFmpegError` or `OSError`."""
    with av.open(os.fspath(path)) as container:
        return bool(container.streams.audio)


def log_mel(samples: Array, preprocessing: Preprocessing) -> Array:
    """Log-mel frames of a mono sound at `preprocessing.sample_rate_hz`, one per hop.

    The reference pads to 300 s with silence and drops the frames of the padding. Its
    result depends on nothing further than two frames into the padding, so no more is
    computed here.

    Args:
        samples: f32[samples], beyond `preprocessing.max_samples` unheard.

    Returns:
        f32[n_mels, ceil(samples / hop)]
    """
    samples = samples[: preprocessing.max_samples]
    assert samples.ndim == 1 and len(samples), f"one mono sound, not {samples.shape}"
    hop, n_fft = preprocessing.hop, preprocessing.n_fft
    frames = -(-len(samples) // hop)
    # a window reaches half of n_fft behind its centre: these frames still hear the end,
    # and the loudest band may be in one of them
    audible = min(frames + -(-n_fft // (2 * hop)), preprocessing.max_samples // hop)
    padded = np.zeros(min(frames * hop + n_fft, preprocessing.max_samples), np.float64)
    padded[: len(samples)] = samples
    padded = np.pad(padded, n_fft // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]

    filters = mel_filters(preprocessing.n_mels, n_fft, preprocessing.sample_rate_hz)
    hann = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(n_fft) / n_fft)
    logs = np.empty((preprocessing.n_mels, audible), np.float32)
    for start in range(0, audible, BLOCK_FRAMES):
        stop = min(start + BLOCK_FRAMES, audible)
        spectrum = np.fft.rfft(windows[start:stop] * hann, axis=1)
        power = spectrum.real**2 + spectrum.imag**2
        logs[:, start:stop] = np.log10(np.maximum(filters @ power.T, POWER_FLOOR))
    mel: Array = np.maximum(logs[:, :frames], logs.max() - np.float32(DYNAMIC_RANGE))
    return (mel + np.float32(4.0)) / np.float32(4.0)


@lru_cache(maxsize=2)
def mel_filters(n_mels: int, n_fft: int, sample_rate_hz: int) -> Array:
    """Slaney's mel filter bank up to 8 kHz, each filter of unit area: f64[n_mels, n_fft // 2 + 1].

    Mel is linear up to 1 kHz (15 mel) and logarithmic above, 27 mel per factor of 6.4.
    Source: Malcolm Slaney's Auditory Toolbox (1998).
    """
    step = math.log(6.4) / 27.0
    highest = 15.0 + math.log(HIGHEST_MEL_HZ / 1000.0) / step
    mels = np.linspace(0.0, highest, n_mels + 2)
    corners = np.where(mels < 15.0, mels * (200.0 / 3.0), 1000.0 * np.exp(step * (mels - 15.0)))
    bins = np.linspace(0.0, sample_rate_hz // 2, n_fft // 2 + 1)
    low, centre, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rising = (bins - low) / (centre - low)
    falling = (high - bins) / (high - centre)
    filters: Array = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (high - low))
    filters.flags.writeable = False
    return filters


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


def _read_file(path: Path, seconds: float, where: object) -> tuple[Array, float]:
    """Reads the first `seconds` of a file: f32[samples, channels] and the rate in Hz."""
    try:
        with soundfile.SoundFile(path) as file:
            samples = file.read(math.ceil(seconds * file.samplerate), np.float32, always_2d=True)
            return samples, float(file.samplerate)
    except (soundfile.LibsndfileError, OSError, RuntimeError) as first:
        try:
            return _read_container(path, seconds)
        except (av.FFmpegError, OSError, ValueError) as second:
            raise OmnijetError(
                "the sound cannot be read",
                where=where,
                expected="a sound file or a clip with sound",
                got=f"{first}; {second}",
                fix="convert it, for example: ffmpeg -i FILE out.wav",
            ) from second


def _read_container(path: Path, seconds: float) -> tuple[Array, float]:
    """Decodes the first sound track of a container with FFmpeg."""
    blocks: list[Array] = []
    rate, read = 0, 0
    with av.open(os.fspath(path)) as container:
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
