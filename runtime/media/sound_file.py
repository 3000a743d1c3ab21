"""Opens sound files, block by block: libsndfile first, FFmpeg for what it does not know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import soundfile

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.media.allowed import SOUNDS
from omnijet.runtime.media.container import container_of, restrict
from omnijet.runtime.media.content import opened
from omnijet.runtime.media.pcm import ENCODINGS, RawFormat
from omnijet.runtime.media.quiet import quiet
from omnijet.runtime.media.riff import Patched, patches_of, rate_of

BLOCK_SAMPLES = 1 << 20  # of all channels
# what files begin with that libsndfile may read; an MP3 has bits of its own
STARTS = re.compile(
    rb"(?:RIFF|RIFX|RF64).{4}WAVE|riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb|FORM.{4}AIF[FC]"
    rb"|fLaC|OggS|caff|\.snd|dns\.|NIST_1A",
    re.DOTALL,
)
HEADERS = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"FORM", b"caff", b".snd", b"ID3")


@contextmanager
def file_blocks(
    source: Path | bytes, raw: RawFormat | None = None
) -> Iterator[tuple[float, Iterator[Array]]]:
    """Opens a file with libsndfile: its rate in Hz, and blocks f32[samples, channels].

    Raises:
        LibsndfileError, OSError, RuntimeError, ValueError: here or when a block is read.
    """
    with opened(source) as binary:
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
            require_known(binary)
            # a reader without a name: libsndfile would believe its ending, and read neighbours
            with quiet():
                file = soundfile.SoundFile(Patched(binary, patches_of(binary)))
        with file:
            if raw is None and file.format not in SOUNDS:
                raise ValueError(f"the format {file.format} is not read")
            yield float(file.samplerate), _blocks(file)


def stated_rate(source: Path | bytes) -> int | None:
    """Returns the rate that a file claims, also if libsndfile refuses it; None if unknown."""
    try:
        with opened(source) as binary:
            return rate_of(binary)
    except OSError:
        return None


def require_known(file: BinaryIO) -> None:
    """Raises `ValueError` unless a file begins as those that libsndfile may read.

    What it does not know it takes for the data of a file beside it. The file is left at its start.
    """
    head = file.read(16)
    if head.startswith(b"ID3"):  # libsndfile goes by what follows the tag
        size = 0
        for byte in head[6:10]:
            size = size << 7 | byte & 0x7F
        file.seek(10 + size)
        head = file.read(16)
    file.seek(0)
    if not (STARTS.match(head) or _is_mpeg(head)):
        raise ValueError("the format is none of those that are read")


def _is_mpeg(head: bytes) -> bool:
    """Returns whether a frame of MPEG audio begins here, as libsndfile knows it."""
    if len(head) < 3 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer, rate, frequency = head[1] & 0x18, head[1] & 6, head[2] & 0xF0, head[2] & 0xC
    return version != 8 and layer != 0 and rate != 0xF0 and frequency != 0xC


def _blocks(file: soundfile.SoundFile) -> Iterator[Array]:
    # the header's count of samples is not believed, and nothing is allocated by it
    frames = max(BLOCK_SAMPLES // file.channels, 1)
    while True:
        with quiet():
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
    with container_of(source) as container:
        if not container.streams.audio:
            raise ValueError("it has no sound track")
        restrict(container.streams.audio[0].codec_context, source)
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
