"""Pictures are refused by their headers: other formats, and what does not fit the memory."""

from __future__ import annotations

import io
import resource
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import EpsImagePlugin, Image, IptcImagePlugin, WmfImagePlugin

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media import picture_file
from omnijet.runtime.media.image import load_image
from omnijet.runtime.media.jpeg import scans_of
from omnijet.runtime.media.kind import kind_of


def png(width: int, height: int, bits: int = 8, colours: int = 2) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        checked = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checked

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(bytes(100_000)))
    return b"\x89PNG\r\n\x1a\n" + head + data + chunk(b"IEND", b"")


def jpeg(width: int, height: int, **options: Any) -> bytes:
    made = bytearray(stored(Image.new("RGB", (64, 64)), "JPEG", **options))
    start = made.index(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0")
    made[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(made)


def stored(image: Image.Image, form: str, **options: Any) -> bytes:
    made = io.BytesIO()
    image.save(made, form, **options)
    return made.getvalue()


def icon(content: bytes) -> bytes:
    entry = bytes([16, 16, 0, 0, 1, 0, 32, 0]) + struct.pack("<II", len(content), 22)
    return b"\0\0\1\0\1\0" + entry + content


def told(content: bytes | Path) -> str:
    with pytest.raises(OmnijetError) as caught:
        load_image(content)
    return str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        png(13_000, 13_000),
        png(100_000, 40_000, 1, 0),
        icon(png(15_000, 10_000)),
        icon(b"\x28\0\0\0" + struct.pack("<ii", 30_000, -30_000) + bytes(40)),
        jpeg(60_000, 60_000),
        jpeg(14_000, 14_000, progressive=True),
        stored(Image.new("RGB", (5000, 5000)), "WEBP", lossless=True, method=0),
    ],
    ids=["png", "bits", "icon", "bitmap", "jpeg", "progressive", "webp"],
)
def test_a_few_bytes_take_no_memory(content: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "more pixels than it can hold" in told(content)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_a_tile_of_a_tiff_is_no_larger_than_the_picture() -> None:
    made = io.BytesIO()
    tags = {65_000: 32_768, 65_001: 32_768}
    Image.new("RGB", (64, 64)).save(made, "TIFF", tiffinfo=tags)
    content = made.getvalue()
    for place, other in ((322, 65_000), (323, 65_001)):
        content = content.replace(struct.pack("<H", other), struct.pack("<H", place))
    assert "announces more pixels" in told(content)


def test_what_is_blank_is_read() -> None:
    blank = Image.new("RGB", (2000, 1500), "white")
    for form in ("PNG", "WEBP", "GIF", "TIFF", "JPEG", "AVIF"):
        assert load_image(stored(blank, form)).size == blank.size


@pytest.mark.parametrize("form", ["WEBP", "JPEG2000", "AVIF"])
def test_formats_that_take_more_memory_hold_fewer(
    monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    content = stored(Image.new("RGB", (100, 100)), form)
    monkeypatch.setattr(picture_file, "MOST_BYTES", 10_000 * 10)
    assert "too many pixels" in told(content)
    assert load_image(stored(Image.new("RGB", (100, 100)), "PNG")).size == (100, 100)


def test_scans_are_counted() -> None:
    once, often = jpeg(64, 64), bytearray(jpeg(64, 64, progressive=True))
    assert scans_of(io.BytesIO(once)) == (1, True)
    count, at_once = scans_of(io.BytesIO(often))
    assert count > 5 and at_once
    for junk in (b"", b"\xff\xd8", b"\xff\xd8\xff", once[:100], b"\xff\xd8" + b"\xff" * 50):
        assert scans_of(io.BytesIO(junk)) == (0, False)
    last = often.rindex(b"\xff\xda")
    often[-2:] = often[last:-2] * 200 + often[-2:]
    assert "too many scans" in told(bytes(often))


def test_a_thumbnail_is_no_scan() -> None:
    small = jpeg(64, 64)
    held = b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small
    assert scans_of(io.BytesIO(small[:2] + held * 300 + small[2:])) == (1, True)


def test_progressive_jpegs_have_the_limit_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_file, "MOST_PIXELS", 10_000)
    monkeypatch.setattr(picture_file, "ENOUGH_PIXELS", 5_000)
    image = Image.new("RGB", (200, 200))
    assert load_image(stored(image, "JPEG")).size == (100, 100)
    assert "too many pixels" in told(stored(image, "JPEG", progressive=True))


FOREIGN = {
    "a.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "PostScript"),
    "dos.eps": (b"\xc5\xd0\xd3\xc6" + bytes(40), "PostScript"),
    "a.pdf": (b"%PDF-1.7\n", "PDF"),
    "a.wmf": (b"\xd7\xcd\xc6\x9a" + bytes(60), "metafile"),
    "a.psd": (b"8BPS\0\1" + bytes(60), "Photoshop"),
    "a.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
    "a.svg": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
    "a.jpg": (b"<!DOCTYPE html><html></html>", "web page"),
    "b.jpg": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    "a.mp4": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "playlist"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_foreign_is_named(tmp_path: Path, name: str) -> None:
    content, words = FOREIGN[name]
    (tmp_path / name).write_bytes(content)
    said = told(tmp_path / name)
    assert words in said and "a PNG, JPEG" in said


def test_no_other_plugin_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    for plugin in (EpsImagePlugin, WmfImagePlugin, IptcImagePlugin):
        for kind in vars(plugin).values():
            if isinstance(kind, type) and issubclass(kind, Image.Image):
                monkeypatch.setattr(kind, "_open", lambda self: opened.append(self.format))
    for content, _ in FOREIGN.values():
        told(content)
        assert kind_of(content) is None
    assert not opened


@pytest.mark.parametrize("form", ["PDF", "EPS", "IM", "SPIDER", "PCX", "SGI", "DDS", "ICNS", "QOI"])
def test_formats_are_those_of_the_list(form: str) -> None:
    Image.init()
    if form not in Image.SAVE:
        pytest.skip("this Pillow does not write it")
    told(stored(Image.new("RGB", (64, 64)), form))
