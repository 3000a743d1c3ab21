"""Pictures: a few shapes of one kind and colour on a dark background."""

from __future__ import annotations

import math
from random import Random

from PIL import Image, ImageDraw

SIZE = (112, 112)
SMOOTH = 3  # pictures are drawn this much larger, then scaled down
RGB = {
    "red": (220, 40, 40), "green": (40, 180, 60), "blue": (50, 80, 230),
    "yellow": (240, 220, 50), "orange": (250, 140, 20), "purple": (150, 50, 190),
    "white": (240, 240, 240),
}  # fmt: skip
GROUND = (10, 60)  # darkest and lightest grey of the background


def draw_scene(
    count: int, colour: str, shape: str, rng: Random, size: tuple[int, int] = SIZE
) -> Image.Image:
    """Draws `count` shapes of one colour at random places and sizes, without contact."""
    width, height = size[0] * SMOOTH, size[1] * SMOOTH
    ground = rng.randint(*GROUND)
    image = Image.new("RGB", (width, height), (ground, ground, ground))
    draw = ImageDraw.Draw(image)
    for x, y, radius in _places(count, width, height, rng):
        rgb = tuple(min(255, max(0, part + rng.randint(-14, 14))) for part in RGB[colour])
        _draw_shape(draw, shape, x, y, radius, rgb, rng)
    return image.resize(size, Image.Resampling.LANCZOS)


def _places(count: int, width: int, height: int, rng: Random) -> list[tuple[float, float, float]]:
    """Draws centres and radii of circles that touch neither each other nor the edge."""
    short = min(width, height)
    largest = {1: 0.34, 2: 0.24, 3: 0.2, 4: 0.18}[count] * short
    while True:
        placed: list[tuple[float, float, float]] = []
        for _ in range(200):
            radius = rng.uniform(0.65, 1.0) * largest
            x, y = rng.uniform(radius, width - radius), rng.uniform(radius, height - radius)
            if all(math.hypot(x - a, y - b) > 1.1 * (radius + r) for a, b, r in placed):
                placed.append((x, y, radius))
                if len(placed) == count:
                    return placed


def _draw_shape(
    draw: ImageDraw.ImageDraw,
    shape: str,
    x: float,
    y: float,
    radius: float,
    rgb: tuple[int, ...],
    rng: Random,
) -> None:
    if shape == "circle":
        draw.ellipse([x - 0.9 * radius, y - 0.9 * radius, x + 0.9 * radius, y + 0.9 * radius], rgb)
        return
    corners, inner = {"square": (4, 1.0), "triangle": (3, 1.0), "star": (5, 0.42)}[shape]
    turn = -math.pi / 2 + (math.pi / 4 if shape == "square" else 0.0) + rng.uniform(-0.12, 0.12)
    points = []
    for index in range(2 * corners):
        far = radius * (1.0 if index % 2 == 0 else inner)
        if inner == 1.0 and index % 2:
            continue
        angle = turn + math.pi * index / corners
        points.append((x + far * math.cos(angle), y + far * math.sin(angle)))
    draw.polygon(points, rgb)
