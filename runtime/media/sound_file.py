"""Opens sound files, block by block: libsndfile first, FFmpeg for what it does not know."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import soundfile

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.media.pcm import ENCODINGS, RawFormat
from omnijet.runtime.media.riff import Patched, patches_of, rate_of
from omnijet.runtime.media.source import opened

BLOCK_SAMPLES = 1 << 20  # of all channels
HEADERS = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"FORM", b"caff", b".snd", b"ID3")


@contextmanager
def file_blocks(
    source: Path | bytes, raw: RawFormat | None = None
) -> Iterator[tuple[float, Iterator[Array]]]:
    """Opens a file with libsndfile: its rate in Hz, and blocks f32[samples, channels].

    Raises:
        LibsndfileError, OSError, RuntimeError, ValueError: here or when a block is read.
    """
    with _binary(source) as binary:
        if raw is not None:
            start = binary.read(4)
            binary.seek(0)
            if start.startswith(HEADERS):
                raise ValueError(f"the file has a header of its own ({start!r})")
            subtype, endian = ENCODINGS[raw.encoding]
            file = soundfile.SoundFile(
                Patched(binary, {}), samplerate=raw.rate_hz, channels=raw.channels,
                format="RAW", subtype=subtype, endian=endian,
            )  # fmt: skip
        else:
            patches = patches_of(binary)
            by_name = isinstance(source, Path) and source.suffix.lower() != ".raw"
            # soundfile believes the name *.raw, whatever the file holds
            whole = opened(source) if by_name and not patches else Patched(binary, patches)
            file = soundfile.SoundFile(whole)
        with file:
            yield float(file.samplerate), _blocks(file)


def stated_rate(source: Path | bytes) -> int | None:
    """Returns the rate that a file claims, also if libsndfile refuses it; None if unknown."""
    try:
        with _binary(source) as binary:
            return rate_of(binary)
    except OSError:
        return None


def _binary(source: Path | bytes) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")


def _blocks(file: soundfile.SoundFile) -> Iterator[Array]:
    # the header's count of samples is not believed, and nothing is allocated by it
    frames = max(BLOCK_SAMPLES // file.channels, 1)
    while True:
        block: Array = file.read(frames, np.float32, always_2d=True)
        if not len(block):
            return
        yield block


@contextmanager
def container_blocks(source: Path | bytes) -> Iterator[tuple[float, Iterator[Array]]]:
    """Opens the first sound track of a container with FFmpeg, as `file_blocks`.

    Raises:
        FFmpegError, OSError, ValueError: here or when a block is read.
    """
    with av.open(opened(source), "r") as container:
        if not container.streams.audio:
            raise ValueError("it has no sound track")
        frames = _decode(container)
        first = next(frames, None)
        if first is None:
            yield float(container.streams.audio[0].rate or 0), iter(())
            return

        def blocks() -> Iterator[Array]:
            yield first.to_ndarray().T
            for frame in frames:
                yield frame.to_ndarray().T

        # the rate of the frame, not of the track: HE-AAC announces half its rate
        yield float(first.sample_rate), blocks()


def _decode(container: av.container.InputContainer) -> Iterator[av.AudioFrame]:
    """Yields the frames of the first sound track as planar f32."""
    planar = av.AudioResampler(format="fltp")
    for frame in container.decode(audio=0):
        yield from planar.resample(frame)
    yield from planar.resample(None)
