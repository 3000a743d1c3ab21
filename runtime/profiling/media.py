"""Makes the scenarios' media from a seed: no file is needed, and runs compare."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from omnijet.runtime.bundle.contract import Array

SOUND_RATE_HZ = 16_000
FRAME_RATE_HZ = 25
SQUARE = 16  # pixels per side of the noise's squares
BIT_RATE = 2_000_000  # of a clip's picture, like a small clip of a phone
AAC_FRAME = 1024  # samples


def picture(height: int, width: int) -> Array:
    """Returns a picture of coarse noise, uint8[height, width, 3]."""
    shown: Array = frames(1, height, width)[0]
    return shown


def frames(count: int, height: int, width: int) -> Array:
    """Returns frames of coarse noise that drifts, uint8[count, height, width, 3]."""
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 256, (-(-height // SQUARE), -(-width // SQUARE), 3), np.uint8)
    whole = coarse.repeat(SQUARE, axis=0).repeat(SQUARE, axis=1)[:height, :width]
    return np.stack([np.roll(whole, index, axis=1) for index in range(count)])


def voice(seconds: float) -> Array:
    """Returns a buzz in syllables, f32[samples] at 16 kHz.

    Real words are not needed: the cost of the encoder does not depend on them.
    """
    time = np.arange(int(seconds * SOUND_RATE_HZ)) / SOUND_RATE_HZ
    pitch = 2 * np.pi * np.cumsum(120 + 20 * np.sin(3 * time)) / SOUND_RATE_HZ
    buzz = sum(np.sin(k * pitch) / k for k in range(1, 12))
    sound = 0.2 * buzz * np.clip(np.sin(8 * np.pi * time), 0, None)
    noise = np.random.default_rng(7).standard_normal(time.size)
    return np.asarray(sound + 0.002 * noise, np.float32)


def write_clip(path: Path, seconds: float, height: int, width: int) -> None:
    """Writes a clip with sound, in MPEG-4 and AAC because every FFmpeg encodes them."""
    with av.open(str(path), "w") as container:
        shown = container.add_stream("mpeg4", rate=FRAME_RATE_HZ)
        shown.width, shown.height, shown.pix_fmt = width, height, "yuv420p"
        shown.bit_rate = BIT_RATE
        heard = container.add_stream("aac", rate=SOUND_RATE_HZ, layout="mono")
        for pixels in frames(int(seconds * FRAME_RATE_HZ), height, width):
            container.mux(shown.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(shown.encode(None))
        samples = voice(seconds)
        for start in range(0, samples.size, AAC_FRAME):
            block = samples[None, start : start + AAC_FRAME]
            frame = av.AudioFrame.from_ndarray(block, "fltp", "mono")
            frame.sample_rate, frame.pts = SOUND_RATE_HZ, start
            container.mux(heard.encode(frame))
        container.mux(heard.encode(None))
