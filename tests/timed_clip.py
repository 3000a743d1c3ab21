"""Clips whose timestamps the tests set: frames and sound at any time."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 64, 48
SOUND_BLOCK = 1024  # samples


def write_timed_clip(
    path: Path,
    stamps: Sequence[int],
    *,
    tick: Fraction = Fraction(1, 1000),
    codec: str = "mpeg4",
    rate: int = 25,
    sound: Sequence[tuple[float, npt.NDArray[np.float32]]] = (),
    sound_codec: str = "pcm_s16le",
    sound_rate: int = 16_000,
) -> None:
    """Writes a clip; frame i has grey level 5 i (modulo 256) and a white upper left quarter.

    Args:
        stamps: when each frame appears, in ticks.
        rate: frames per second that the header announces.
        sound: pieces of the sound track: when each begins, in seconds, and its samples.
    """
    with av.open(str(path), "w") as container:
        picture: Any = container.add_stream(codec, rate=rate)
        picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        picture.bit_rate, picture.codec_context.time_base = 4_000_000, tick
        hum: Any = None
        if sound:
            hum = container.add_stream(sound_codec, rate=sound_rate, layout="mono")
        for number, stamp in enumerate(stamps):
            pixels = np.full((HEIGHT, WIDTH, 3), 5 * number % 256, np.uint8)
            pixels[: HEIGHT // 2, : WIDTH // 2] = 255
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = stamp, tick
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        for begin, samples in sound:
            for start in range(0, len(samples), SOUND_BLOCK):
                block = (32767 * samples[None, start : start + SOUND_BLOCK]).astype(np.int16)
                piece = av.AudioFrame.from_ndarray(block, "s16", "mono")
                piece.sample_rate, piece.time_base = sound_rate, Fraction(1, sound_rate)
                piece.pts = round(begin * sound_rate) + start
                container.mux(hum.encode(piece))
        if hum is not None:
            container.mux(hum.encode(None))


def shown(frames: npt.NDArray[np.uint8]) -> list[int]:
    """Returns the numbers that these frames have in a clip of the tests, modulo 51."""
    corner = frames[:, 3 * frames.shape[1] // 4, 3 * frames.shape[2] // 4]
    return [round(float(value)) for value in corner.mean(axis=1) / 5]
