"""Clips that the tests make."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT = 64, 48


def write_clip(
    path: Path, frames: int, fps: int, *, sound: float | None = None, turn: int = 0
) -> None:
    """Writes a clip; frame i has grey level 5 i (modulo 256) and a white upper left quarter.

    Args:
        path: The file.
        frames: The number of frames.
        fps: The frames per second.
        sound: Seconds of a rising tone on the sound track; None for a silent clip.
        turn: Degrees of rotation that a player must undo.
    """
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mpeg4", rate=fps)
        picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        picture.bit_rate = 4_000_000
        if turn:
            picture.set_display_rotation(turn)
        hum = None if sound is None else container.add_stream("aac", rate=16_000, layout="mono")
        for index in range(frames):
            pixels = np.full((HEIGHT, WIDTH, 3), 5 * index % 256, np.uint8)
            pixels[: HEIGHT // 2, : WIDTH // 2] = 255
            container.mux(picture.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(picture.encode(None))
        if hum is not None:
            assert sound is not None
            time = np.arange(int(16_000 * sound)) / 16_000
            wave = 0.3 * np.sin(2 * np.pi * (300 + 200 * time) * time)
            for start in range(0, len(wave), 1024):
                block = wave[None, start : start + 1024].astype(np.float32)
                frame = av.AudioFrame.from_ndarray(block, "fltp", "mono")
                frame.sample_rate, frame.pts = 16_000, start
                container.mux(hum.encode(frame))
            container.mux(hum.encode(None))
