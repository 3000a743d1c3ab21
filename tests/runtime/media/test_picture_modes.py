"""Transparency, deep greys, damaged and huge pictures."""

from __future__ import annotations

import contextlib
import io
import random
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media import picture_file
from omnijet.runtime.media.image import load_image

WILD = Path(__file__).parents[2] / "media" / "wild"


@pytest.fixture(autouse=True)
def no_warning_of_pillow() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def stored(image: Image.Image, form: str, **options: object) -> bytes:
    made = io.BytesIO()
    image.save(made, form, **options)
    return made.getvalue()


def colours(mode: str) -> Image.Image:
    """Returns a picture whose left half is transparent black, and whose right half is red."""
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, 4:] = (255, 0, 0, 255)
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "RGBa", "La"])
def test_transparency_lies_on_white(mode: str) -> None:
    source = colours("LA").convert("La") if mode == "La" else colours(mode)
    made = np.asarray(load_image(source))
    assert (made[:, :4] == 255).all() and not (made[:, 4:] == 255).all()


@pytest.mark.parametrize("form", ["PNG", "WEBP", "GIF", "TIFF"])
def test_transparency_of_files(form: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    made = np.asarray(load_image(stored(colours("RGBA"), form, **options)))
    assert (made[:, :4] == 255).all() and (made[:, 4:] == (255, 0, 0)).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_a_transparent_colour_lies_on_white(mode: str) -> None:
    grey = np.zeros((8, 8), np.uint8)
    grey[:, 4:] = 255
    image = Image.fromarray(grey).convert(mode)
    hidden = (0, 0, 0) if mode == "RGB" else 0
    made = np.asarray(load_image(stored(image, "PNG", transparency=hidden)))
    assert (made == 255).all()


def test_half_transparent_is_that_of_the_published_loader() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 4), np.uint8)
    image = Image.fromarray(pixels)
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(image, mask=image.split()[3])
    for source in (image, pixels, stored(image, "PNG")):
        np.testing.assert_array_equal(np.asarray(load_image(source)), np.asarray(white))


def test_the_black_logo_is_seen() -> None:
    made = np.asarray(load_image(WILD / "black_logo.png"))
    assert made.max() == 255 and made.min() < 64


def test_deep_greys_are_scaled(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    want = np.rint(ramp / 257).astype(np.uint8)
    sources = [stored(Image.fromarray(ramp), "PNG"), stored(Image.fromarray(ramp), "TIFF"), ramp]
    sources += [b"P5 16 16 65535\n" + ramp.astype(">u2").tobytes()]
    sources += [Image.fromarray(ramp.astype(np.int32)), Image.fromarray(ramp.astype(np.float32))]
    sources += [(ramp / np.float32(65535)).astype(np.float32)]
    for source in sources:
        np.testing.assert_array_equal(np.asarray(load_image(source))[..., 0], want)
    bright = np.full((2, 2), 100, np.float32)
    bright[0, 0] = np.inf
    assert np.asarray(load_image(Image.fromarray(bright)))[1, 1, 0] == 100
    made = np.asarray(load_image(WILD / "g16.png"))
    assert len(np.unique(made)) > 100  # a clipped one has little but white


def test_arrays_that_cannot_be_meant() -> None:
    for array in (np.full((4, 4), 200.0), np.zeros((4, 4), np.int64), np.full((4, 4), np.nan)):
        with pytest.raises(OmnijetError, match="floats from 0 to 1"):
            load_image(array)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF", "GIF", "BMP"])
def test_whatever_a_damaged_file_does_is_told(form: str) -> None:
    draw = random.Random(0)
    whole = stored(colours("RGB").resize((40, 30)), form)
    for _ in range(60):
        made = bytearray(whole[: draw.randint(1, len(whole))])
        for _ in range(draw.randint(0, 3)):
            made[draw.randrange(len(made))] ^= 1 << draw.randrange(8)
        try:
            load_image(bytes(made))
        except OmnijetError as error:
            assert "_io" not in str(error)


def test_a_damaged_avif() -> None:
    with pytest.raises(OmnijetError, match="cannot be read"):
        load_image(WILD / "image-2.avif")


def test_a_panorama_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)  # of whoever else uses Pillow
    monkeypatch.setattr(picture_file, "MOST_PIXELS", 160_000)
    monkeypatch.setattr(picture_file, "ENOUGH_PIXELS", 20_000)
    wide = Image.new("RGB", (800, 200), "red")
    assert load_image(stored(wide, "PNG")).size == (800, 200)
    monkeypatch.setattr(picture_file, "MOST_PIXELS", 150_000)
    assert load_image(stored(wide, "JPEG")).size == (400, 100)  # at least enough pixels
    assert Image.MAX_IMAGE_PIXELS == 10_000
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr(picture_file, "MOST_PIXELS", 100_000)
    with pytest.raises(OmnijetError) as caught:
        load_image(stored(wide, "PNG"), "wide.png")
    told = str(caught.value)
    assert "800 x 200" in told and "too many pixels" in told and "wide.png" in told


def test_the_log_of_pillow_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    whole = bytearray(stored(colours("RGB"), "TIFF"))
    for place in range(len(whole)):
        made = bytearray(whole)
        made[place] ^= 0xFF
        with contextlib.suppress(OmnijetError):
            load_image(bytes(made))
    assert not [record for record in caplog.records if record.name.startswith("PIL")]
