"""Clips: a new scene every second, with sounds."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from random import Random

import av
import numpy as np
from PIL import Image

from omnijet.nano.world.pictures import draw_scene
from omnijet.nano.world.sounds import beep, knock
from omnijet.nano.world.speech import RATE_HZ
from omnijet.nano.world.words import BEEP, COLOURS, KNOCK, SHAPES
from omnijet.runtime.bundle.contract import Array

FPS = 8
SIZE = (160, 80)  # the loader enlarges it to 448 x 224, which gives 128 tokens a second


@dataclass(frozen=True, slots=True)
class Clip:
    """The scene in each second of a clip, and the second of its beep.

    Attributes:
        scenes: Colour and shape of each second; all colours differ.
        beep_second: The second with the beep.
        seed: The seed of the pictures and the sounds.
    """

    scenes: tuple[tuple[str, str], ...]
    beep_second: int
    seed: int

    @property
    def answer(self) -> str:
        """Returns the colour that is shown during the beep."""
        return self.scenes[self.beep_second][0]


def random_clip(rng: Random) -> Clip:
    """Draws a clip of 3 to 5 seconds."""
    seconds = rng.randint(3, 5)
    colours = rng.sample(COLOURS, seconds)
    scenes = tuple((colour, rng.choice(SHAPES)) for colour in colours)
    return Clip(scenes, rng.randrange(seconds), rng.randrange(1 << 31))


def clip_frame(clip: Clip, second: int) -> Image.Image:
    """Draws the picture of a second."""
    colour, shape = clip.scenes[second]
    return draw_scene(1, colour, shape, Random(f"{clip.seed}/{second}"), SIZE)


def clip_sound(clip: Clip) -> Array:
    """Returns the sound f32[samples] at 16 kHz: faint noise, one beep, knocks in other seconds."""
    rng = np.random.default_rng(clip.seed)
    return soundtrack(len(clip.scenes), rng, clip.beep_second)[0]


def soundtrack(
    seconds: int, rng: np.random.Generator, beep_second: int | None = None
) -> tuple[Array, list[str]]:
    """Returns the sound of a clip, f32[samples] at 16 kHz, and its events in order."""
    where = int(rng.integers(seconds))
    if beep_second is None:
        beep_second = where
    faint = 10 ** rng.uniform(-4, -2.3)
    track = (rng.standard_normal(seconds * RATE_HZ) * faint).astype(np.float32)
    events = []
    for second in range(seconds):
        if second == beep_second:
            sound, name = beep(rng), BEEP
        elif rng.random() < 0.35:
            sound, name = knock(rng), KNOCK
        else:
            continue
        # a margin keeps the sound inside its second despite the delay of a codec
        latest = RATE_HZ - len(sound) - RATE_HZ // 6
        start = second * RATE_HZ + int(rng.integers(RATE_HZ // 8, latest))
        track[start : start + len(sound)] += sound
        events.append(name)
    return np.clip(track, -1, 1), events


def write_clip(clip: Clip, path: Path) -> None:
    """Writes a clip as H.264 and AAC in an MP4 file."""
    with av.open(path, "w") as file:
        video = file.add_stream("libx264", FPS, options={"crf": "22"})
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        audio = file.add_stream("aac", RATE_HZ, layout="mono", bit_rate=24_000)
        for second in range(len(clip.scenes)):
            picture = av.VideoFrame.from_ndarray(np.asarray(clip_frame(clip, second)), "rgb24")
            for index in range(FPS):
                picture.pts, picture.time_base = second * FPS + index, Fraction(1, FPS)
                file.mux(video.encode(picture))
        file.mux(video.encode(None))
        samples = clip_sound(clip)[None]
        for start in range(0, samples.shape[1], 1024):
            block = np.ascontiguousarray(samples[:, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = RATE_HZ, start
            file.mux(audio.encode(frame))
        file.mux(audio.encode(None))
