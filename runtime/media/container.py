"""Opens containers with FFmpeg, so that no other file or address is read on a file's word."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.codec.context import CodecContext

from omnijet.runtime.media.allowed import CODECS, CONTAINERS
from omnijet.runtime.media.content import opened, size_of

MAX_FRAME_PIXELS = 1 << 26  # 8192 x 8192: a decoder holds up to 20 frames, in 2 GB
PADDING_PIXELS = 1 << 20  # what decoders add at the edges of the largest frames
BLANK_PIXELS = 1 << 24
PIXELS_PER_BYTE = 1 << 10
"""Of a frame larger than `BLANK_PIXELS`, by the bytes of the whole clip."""
MOST_SAMPLES = 1 << 22  # of a decoded piece of sound, of one channel
MOST_STREAMS = 100

_OPTIONS = {
    "format_whitelist": ",".join(CONTAINERS),
    "protocol_whitelist": "none",  # there is no such protocol: whatever is named is not opened
    "max_streams": str(MOST_STREAMS),
}


def most_frame_pixels(source: Path | bytes) -> int:
    """Returns how many pixels a frame of a clip may have: few bytes hold no large one.

    Raises:
        OSError: the clip is gone.
    """
    return min(MAX_FRAME_PIXELS, BLANK_PIXELS + PIXELS_PER_BYTE * size_of(source))


@contextmanager
def container_of(source: Path | bytes) -> Iterator[av.container.InputContainer]:
    """Opens a container of an allowed format; it is read through a reader of ours.

    Raises:
        FFmpegError, OSError, ValueError: it cannot be opened.
    """
    with opened(source) as file:
        try:
            options = {**_OPTIONS, **_codec_options(source)}
            container = av.open(file, "r", options=options, metadata_errors="replace")
        except av.error.ArgumentError as error:
            raise ValueError("its format is none of those that are read") from error
        except av.error.MemoryError as error:
            raise ValueError(f"more than {MOST_STREAMS} tracks, or no memory") from error
        with container:
            yield container


def restrict(context: CodecContext | None, source: Path | bytes) -> None:
    """Bounds what a track's decoder may be and hold, before it decodes anything.

    Raises:
        ValueError: there is no such decoder, or it is not allowed.
    """
    if context is None:
        raise ValueError("its codec is unknown")
    if context.name not in CODECS:
        raise ValueError(f"its codec is not one that is read: {context.name}")
    context.options = _codec_options(source)


def _codec_options(source: Path | bytes) -> dict[str, str]:
    return {
        "codec_whitelist": ",".join(CODECS),
        # decoders pad the sides; what is damaged may announce any size
        "max_pixels": str(most_frame_pixels(source) + PADDING_PIXELS),
        "max_samples": str(MOST_SAMPLES),
    }


def reason(error: Exception) -> str:
    """Returns what FFmpeg, the system or we say, without names of files."""
    if type(error) is ValueError:
        return str(error)
    return f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"
