"""Sound on the host: reads any file or array as 16 kHz mono.

Resampling follows `librosa.load` (mono first, then soxr HQ), which the model's published
loader calls. Blocks are mixed and resampled as they are read: what is held is the result.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import av
import numpy as np
import numpy.typing as npt
import soundfile

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.cancel import Check, never
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.allowed import SOUNDS_TEXT, foreign
from omnijet.runtime.media.container import container_of, reason
from omnijet.runtime.media.kind import way_out
from omnijet.runtime.media.mono import MonoSound, require_rate
from omnijet.runtime.media.pcm import EXAMPLE, RawFormat
from omnijet.runtime.media.sound_file import container_blocks, file_blocks, stated_rate
from omnijet.runtime.media.source import Source, is_source, named, readable

AudioSource: TypeAlias = Source | npt.NDArray[Any] | tuple[npt.NDArray[Any], int | float]

_log = logging.getLogger(__name__)

MARGIN_SECONDS = 1.0  # read beyond the limit, so that the resampler's end effects lie outside
BLOCK_FRAMES = 1 << 18
MOST_CHANNELS = 8  # of an array whose shape does not say which axis is time


def load_audio(
    source: AudioSource,
    sample_rate_hz: int = 16_000,
    max_seconds: float = 300.0,
    where: object = None,
    raw: RawFormat | None = None,
    check: Check = never,
) -> Array:
    """Reads a sound as mono samples.

    Args:
        source: a `Source` that soundfile or FFmpeg reads (for a clip, its first sound track), an
            array [samples], [samples, channels] or [channels, samples] at `sample_rate_hz`, or
            such an array with its rate. Integers (int8, uint8, int16, int32) are full-scale PCM,
            floats are in [-1, 1]; floats in the range of int16 or int32 are scaled, with a
            warning.
        max_seconds: longer sounds are cut there with a warning, as in the reference.
        where: names the sound in messages; the path or "audio array" by default.
        raw: how the samples of a file without a header are written.
        check: called before each block; it may raise to cancel.

    Returns:
        f32[samples]

    Raises:
        OmnijetError: the sound cannot be read, is empty, or holds NaN or samples of no known
            scale.
    """
    seconds = max_seconds + MARGIN_SECONDS
    if is_source(source):
        where = named(source) if where is None else where
        found = readable(source, "sound", where, check)
        sound = _of_file(found, seconds, sample_rate_hz, where, raw, check)
    else:
        where = "audio array" if where is None else where
        array, rate = source if isinstance(source, tuple) else (source, sample_rate_hz)
        require_rate(rate, where)
        sound = MonoSound(float(rate), sample_rate_hz, seconds, check)
        sound.fill(_array_blocks(np.asarray(array), where))
    mono = sound.samples(where)
    limit = int(max_seconds * sample_rate_hz)
    if len(mono) > limit:
        _log.warning("%s: only the first %g s of the sound are heard", where, max_seconds)
        mono = mono[:limit]
    return np.ascontiguousarray(mono)


def has_audio(source: Path | bytes) -> bool:
    """Returns whether a medium has a sound track.

    Raises:
        FFmpegError, OSError, ValueError: it cannot be opened.
    """
    with container_of(source) as container:
        return bool(container.streams.audio)


def _array_blocks(array: npt.NDArray[Any], where: object) -> Iterator[Array]:
    """Yields f32[samples, channels] in [-1, 1], piece by piece."""
    array = _time_first(array, where)
    kind, width = array.dtype.kind, array.dtype.itemsize
    if kind != "f" and (kind, width) not in (("u", 1), ("i", 1), ("i", 2), ("i", 4)):
        whole = kind in "iu"
        raise OmnijetError(
            "the sound array has an unusable dtype",
            where=where,
            expected="float in [-1, 1], or int8, uint8, int16 or int32 PCM",
            got=array.dtype,
            fix="array.astype(np.int16) if its numbers are those of 16-bit samples"
            if whole
            else None,
        )
    for start in range(0, len(array), BLOCK_FRAMES):
        block = array[start : start + BLOCK_FRAMES]
        if kind == "f":
            with np.errstate(over="ignore"):  # becomes infinite, and is refused as such
                yield block.astype(np.float32, copy=False)
        elif kind == "u":  # as 8-bit WAV files have it: 128 is silence
            yield ((block.astype(np.float64) - 128) / 128).astype(np.float32)
        else:
            yield (block / float(1 << (8 * width - 1))).astype(np.float32)


def _time_first(array: npt.NDArray[Any], where: object) -> npt.NDArray[Any]:
    """Returns [samples, channels]."""
    if array.ndim == 1:
        return array[:, None]
    if array.ndim == 2 and array.shape[1] >= 1:
        if array.shape[1] <= max(MOST_CHANNELS, array.shape[0]):
            return array
        if 1 <= array.shape[0] <= MOST_CHANNELS:
            return array.T
    raise OmnijetError(
        "the sound array has an unusable shape",
        where=where,
        expected="[samples], [samples, channels] or [channels, samples]",
        got=array.shape,
    )


def _of_file(
    source: Path | bytes,
    seconds: float,
    target_hz: int,
    where: object,
    raw: RawFormat | None,
    check: Check,
) -> MonoSound:
    """Reads the first `seconds` of a file."""

    def heard(rate: float, blocks: Iterator[Array]) -> MonoSound:
        require_rate(rate, where)
        sound = MonoSound(rate, target_hz, seconds, check)
        sound.fill(blocks)
        return sound

    try:
        with file_blocks(source, raw) as (rate, blocks):
            return heard(rate, blocks)
    except (soundfile.LibsndfileError, OSError, RuntimeError, ValueError) as first:
        # libsndfile's own words, without the reader's address in memory
        faults = [str(getattr(first, "error_string", first))]
        if raw is None:
            rate_said = stated_rate(source)
            if rate_said is not None:
                require_rate(rate_said, where)
            try:
                with container_blocks(source) as (rate, blocks):
                    return heard(rate, blocks)
            except (av.FFmpegError, OSError, ValueError) as second:
                faults.append(reason(second))
        raise _unreadable(source, faults, where, raw) from first


def _unreadable(
    source: Path | bytes, faults: list[str], where: object, raw: RawFormat | None
) -> OmnijetError:
    fix = (
        "convert it, for example: ffmpeg -i FILE out.wav; if it is raw PCM without a header, say "
        f'how it is written, for example --audio-format {EXAMPLE}, or "format": "{EXAMPLE}" in '
        "the message's part"
    )
    if raw is not None:
        fix = "leave out the format of raw PCM"
    if raw is None and (other := foreign(source)) is not None:
        faults, fix = [other], "give a sound, or a clip with sound"
    return OmnijetError(
        "the sound cannot be read",
        where=where,
        expected=SOUNDS_TEXT if raw is None else "raw PCM",
        got="; ".join(faults),
        fix=way_out(source, "audio") or fix,
    )
