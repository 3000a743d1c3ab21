from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers import Qwen2VLImageProcessor
from transformers.models.qwen2_vl import image_processing_qwen2_vl as upstream

from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.image import image_patches, load_image, smart_resize

GOLDEN = Path(__file__).parents[2] / "golden"
PREPROCESSING = Preprocessing.from_preprocessor_config(
    json.loads((GOLDEN / "preprocessor_config.json").read_text())
)
SIZES = json.loads((GOLDEN / "misc.json").read_text())["smart_resize"]


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Returns gradients with noise: nothing is flat and nothing is symmetric."""
    rng = np.random.default_rng(width * height)
    ramp = np.add.outer(np.arange(height) * 3, np.arange(width) * 2)[..., None] % 256
    pixels = (ramp * [0.8, 0.5, 0.3, 1.0] + rng.integers(0, 60, (height, width, 4))) % 256
    return Image.fromarray(pixels.astype(np.uint8), "RGBA").convert(mode)


@pytest.mark.parametrize("case", SIZES, ids=lambda case: f"{case['h']}x{case['w']}")
def test_golden_sizes(case: dict[str, Any]) -> None:
    made = smart_resize(
        case["h"], case["w"], case["factor"], case["min_pixels"], case["max_pixels"]
    )
    assert list(made) == case["out"]


def test_random_sizes_equal_reference() -> None:
    rng = np.random.default_rng(0)
    limits = [(3136, 12845056), (100352, 602112), (100352, 105369.6)]
    for height, width, pick in rng.integers([1, 1, 0], [6000, 6000, 3], (2000, 3)).tolist():
        if max(height, width) / min(height, width) <= 200:
            low, high = limits[pick]
            want = upstream.smart_resize(height, width, 28, low, high)  # type: ignore[arg-type]
            assert smart_resize(height, width, 28, low, high) == want


@pytest.mark.parametrize("size", [(97, 61), (1, 1), (28, 28), (640, 481), (13, 900), (56, 84)])
def test_patches_equal_reference(size: tuple[int, int]) -> None:
    image = picture(*size)
    processor = Qwen2VLImageProcessor(min_pixels=3136, max_pixels=12845056)
    # named, because the reference would take a height of 1 or 3 for the channels
    want = processor(images=image, input_data_format="channels_last", return_tensors="np")
    patches, grid = image_patches(load_image(image), PREPROCESSING)
    assert grid == tuple(want["image_grid_thw"][0])
    assert patches.dtype == np.float32
    np.testing.assert_allclose(patches, want["pixel_values"], atol=1e-6, rtol=0)


def test_a_large_picture_is_shrunk_as_in_the_reference() -> None:
    preprocessing = replace(PREPROCESSING, image_max_pixels=100_000)
    processor = Qwen2VLImageProcessor(min_pixels=3136, max_pixels=100_000)
    image = picture(700, 400)
    want = processor(images=image, return_tensors="np")
    patches, grid = image_patches(image, preprocessing)
    assert grid == tuple(want["image_grid_thw"][0])
    np.testing.assert_allclose(patches, want["pixel_values"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "1"])
def test_modes_are_converted_as_pillow_does(tmp_path: Path, mode: str) -> None:
    image = picture(50, 40, mode)
    path = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    image.save(path)
    with Image.open(path) as stored:
        want = np.asarray(stored.convert("RGB"))
    for source in (path, image):
        np.testing.assert_array_equal(np.asarray(load_image(source)), want)


def test_camera_orientation_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6  # shown rotated by 90 degrees clockwise
    image = picture(30, 20)
    image.save(path, exif=exif)
    want = np.rot90(np.asarray(image), -1)
    np.testing.assert_array_equal(np.asarray(load_image(path)), want)


def test_arrays() -> None:
    pixels = np.asarray(picture(9, 7))
    np.testing.assert_array_equal(np.asarray(load_image(pixels)), pixels)
    assert load_image(pixels[..., :1]).mode == "RGB"
    assert load_image(pixels[..., 0]).size == (9, 7)


def test_unusable_pictures(tmp_path: Path) -> None:
    text, cut = tmp_path / "text.png", tmp_path / "cut.jpg"
    text.write_text("no picture")
    picture(300, 300).save(cut)
    cut.write_bytes(cut.read_bytes()[:2000])
    for source, words in [
        (text, "cannot be read"),
        (cut, "cannot be read"),
        (tmp_path, "cannot be opened"),
        ("https://example.org/cat.png", "download it first"),
        (np.full((4, 4, 3), 2, np.float32), "uint8"),
        (np.zeros((4, 4, 2), np.uint8), "unusable"),
        (np.zeros((0, 4, 3), np.uint8), "unusable"),
    ]:
        with pytest.raises(OmnijetError, match=words):
            load_image(source)  # type: ignore[arg-type]


def test_a_strip_is_refused_by_name() -> None:
    with pytest.raises(OmnijetError, match="aspect ratio of at most 200") as caught:
        image_patches(picture(2010, 10), PREPROCESSING, "strip.png")
    assert caught.value.where == "strip.png"
