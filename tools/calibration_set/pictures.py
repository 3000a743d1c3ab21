"""The pictures and clips of the set, drawn by us."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from omnijet.runtime.bundle.contract import Array
from tools.calibration_set.sounds import RATE_HZ
from tools.calibration_set.texts import PAGE

SIZE = (448, 336)
RATE_FPS = 10
CLIP_SIZE = (224, 168)
AAC_FRAME = 1024  # samples
COLOURS = ("#c0392b", "#2980b9", "#27ae60", "#f1c40f", "#8e44ad", "#e67e22")


def pictures() -> list[Image.Image]:
    """Returns a landscape, a page of text, a chart, and shapes on a noisy ground."""
    return [landscape(), page(), chart(), shapes()]


def landscape() -> Image.Image:
    """Returns a house by a lake, below a sky that fades."""
    width, height = SIZE
    picture = Image.new("RGB", SIZE)
    draw = ImageDraw.Draw(picture)
    for row in range(height):
        draw.line((0, row, width, row), (90 + row // 4, 150 + row // 5, 235 - row // 6))
    draw.ellipse((340, 30, 400, 90), "#ffe9a8")
    draw.polygon(((0, 210), (120, 90), (220, 205), (300, 130), (448, 215)), "#5d7183")
    draw.rectangle((0, 205, width, height), "#4f8a4b")
    draw.ellipse((180, 240, 430, 320), "#3f7fb0")
    draw.rectangle((60, 190, 140, 260), "#d8c3a5")
    draw.polygon(((50, 190), (100, 145), (150, 190)), "#a33b2e")
    draw.rectangle((90, 220, 110, 260), "#5a3a22")
    for left in (68, 118):
        draw.rectangle((left, 200, left + 16, 216), "#fdf6c9")
    return picture


def page() -> Image.Image:
    """Returns a notice on paper."""
    picture = Image.new("RGB", SIZE, "#f7f4ea")
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(PAGE):
        font = ImageFont.load_default(30 if number == 0 else 20)
        draw.text((30, 30 + 55 * number), line, "#1d2731", font)
    draw.rectangle((15, 15, 433, 321), outline="#8a1c1c", width=3)
    return picture


def chart() -> Image.Image:
    """Returns bars with numbers, and a line over them."""
    picture = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(picture)
    values = (42, 57, 35, 71, 64, 88)
    draw.line((40, 290, 430, 290), "black", 2)
    for number, value in enumerate(values):
        left = 55 + 62 * number
        draw.rectangle((left, 290 - 2.7 * value, left + 38, 289), COLOURS[number])
        draw.text((left + 8, 295), str(value), "black", ImageFont.load_default(18))
    line = [(74 + 62 * n, 270 - 2.5 * value) for n, value in enumerate(reversed(values))]
    draw.line(line, "#34495e", 3)
    return picture


def shapes() -> Image.Image:
    """Returns six shapes on coarse noise."""
    rng = np.random.default_rng(11)
    coarse = rng.integers(150, 230, (SIZE[1] // 8, SIZE[0] // 8, 3), np.uint8)
    picture = Image.fromarray(coarse.repeat(8, axis=0).repeat(8, axis=1))
    draw = ImageDraw.Draw(picture)
    for number, colour in enumerate(COLOURS):
        x, y = 30 + 140 * (number % 3), 40 + 150 * (number // 3)
        if number % 2:
            draw.ellipse((x, y, x + 90, y + 90), colour)
        else:
            draw.regular_polygon((x + 45, y + 45, 50), 3 + number, number * 17, colour)
    return picture


def write_clip(path: Path, number: int, sound: Array) -> None:
    """Writes a clip of 1.6 s with its sound, in MPEG-4 and AAC as every FFmpeg encodes them."""
    with av.open(str(path), "w") as container:
        shown = container.add_stream("mpeg4", rate=RATE_FPS)
        shown.width, shown.height = CLIP_SIZE
        shown.pix_fmt, shown.bit_rate = "yuv420p", 120_000
        heard = container.add_stream("aac", rate=RATE_HZ, layout="mono")
        heard.bit_rate = 32_000
        for frame in _frames(number):
            container.mux(shown.encode(av.VideoFrame.from_image(frame)))
        container.mux(shown.encode(None))
        samples = sound[: int(1.6 * RATE_HZ)]
        for start in range(0, samples.size, AAC_FRAME):
            block = np.ascontiguousarray(samples[None, start : start + AAC_FRAME])
            piece = av.AudioFrame.from_ndarray(block, "fltp", "mono")
            piece.sample_rate, piece.pts = RATE_HZ, start
            container.mux(heard.encode(piece))
        container.mux(heard.encode(None))


def _frames(number: int) -> Iterator[Image.Image]:
    """Yields a ball that rolls across a landscape, or a hand of a clock that turns."""
    ground = landscape().resize(CLIP_SIZE)
    for step in range(16):
        frame = ground.copy() if number == 0 else Image.new("RGB", CLIP_SIZE, "#eeeeee")
        draw = ImageDraw.Draw(frame)
        if number == 0:
            draw.ellipse((10 + 12 * step, 110, 40 + 12 * step, 140), COLOURS[0], "black")
        else:
            angle = 2 * np.pi * step / 16
            draw.ellipse((42, 14, 182, 154), "white", "black", 4)
            draw.line((112, 84, 112 + 60 * np.sin(angle), 84 - 60 * np.cos(angle)), "#2980b9", 6)
        yield frame
