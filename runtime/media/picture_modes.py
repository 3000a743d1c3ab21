"""Every mode of a picture as RGB: transparency lies on white, deep greys are scaled."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")
DEEPEST = 65535.0


def as_rgb(image: Image.Image) -> Image.Image:
    """Returns a picture as RGB.

    Transparent pixels are pasted on white, as the model's published loader does. Greys of more
    than 8 bits are scaled to 8: Pillow would clip them at 255.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in DEEP_MODES:
        return Image.fromarray(_eight_bits(image)).convert("RGB")
    if image.mode in ALPHA_MODES or "transparency" in image.info:
        return _on_white(image)
    return image.convert("RGB")


def grey_levels(values: npt.NDArray[np.generic], largest: float) -> npt.NDArray[np.uint8]:
    """Scales numbers from 0 to `largest` to 0 to 255; what is not finite becomes black."""
    found = np.nan_to_num(np.asarray(values, np.float32), nan=0.0, posinf=largest, neginf=0.0)
    levels: npt.NDArray[np.uint8] = np.rint(
        np.clip(found / np.float32(largest), 0, 1) * 255
    ).astype(np.uint8)
    return levels


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode == "La":
        image = image.convert("LA")
    image = image if image.mode == "RGBA" else image.convert("RGBA")
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(image, mask=image.getchannel("A"))
    return white


def _eight_bits(image: Image.Image) -> npt.NDArray[np.uint8]:
    values = np.asarray(image)
    if image.mode.startswith("I;16") or image.format == "PPM":
        return grey_levels(values, DEEPEST)
    brightest = float(values[np.isfinite(values)].max(initial=0.0))
    limits = (1.0, 255.0, DEEPEST) if image.mode == "F" else (255.0, DEEPEST)
    return grey_levels(values, next((most for most in limits if brightest <= most), brightest))
