"""Opens picture files: allowed formats only, of a size that fits the memory, before any pixel."""

from __future__ import annotations

import logging
import math
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.allowed import PICTURES
from omnijet.runtime.media.content import opened, size_of
from omnijet.runtime.media.icon import sizes_of
from omnijet.runtime.media.jpeg import scans_of
from omnijet.runtime.media.picture_modes import DEEP_MODES
from omnijet.runtime.media.quiet import quiet

MOST_PIXELS = 200_000_000
"""Of a picture in memory; formats whose decoders need more for each have fewer."""
MOST_BYTES = 2_000_000_000
"""Of memory that reading a picture takes."""
ENOUGH_PIXELS = 3 * 12_845_056
"""What a JPEG too large for memory is read at, at least."""
BLANK_PIXELS = 1 << 24
"""What a file of a few bytes may hold: pictures of one colour pack without end."""
PIXELS_PER_BYTE = 8 * 1032
"""Of any larger picture: what deflate makes of pixels of one bit."""
MOST_SCANS = 100
"""Of a JPEG, each of which passes over all pixels; usual are 1 to 14."""
MOST_SCANNED = 1 << 33
"""Pixels of all scans together: some ten seconds."""
LARGEST_TILE = 4
"""Times the picture: what a tile of TIFF may have."""

# measured: bytes for each pixel that decoding and the way to RGB hold at the most
_COSTS = {"JPEG2000": 24, "WEBP": 17, "AVIF": 13}
_DEEP_COST, _LAYERED_COST = 21, 13

_PILLOW = threading.RLock()  # filters of warnings and Pillow's limit belong to the whole process


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Keeps Pillow's warnings and log to itself; one thread is in here at a time."""
    log = logging.getLogger("PIL")
    with _PILLOW:
        level = log.level
        log.setLevel(logging.CRITICAL + 1)
        try:
            with warnings.catch_warnings(), quiet():
                warnings.simplefilter("ignore")
                yield
        finally:
            log.setLevel(level)


@contextmanager
def picture_of(
    source: Path | bytes, where: object, formats: Sequence[str] = PICTURES
) -> Iterator[Image.Image]:
    """Opens a picture without decoding it; call it within `quiet_pillow`.

    Of the largest that are read at all, JPEGs are opened at a part of their size.

    Raises:
        OmnijetError: it has more pixels than fit the memory, or than its bytes can hold.
        Exception: whatever Pillow's parsers run into.
    """
    length = size_of(source)
    most = PIXELS_PER_BYTE * length
    with opened(source) as file:
        _require_plausible(sizes_of(file), min(most + BLANK_PIXELS, MOST_PIXELS), length, where)
        with _image(file, formats) as image:
            most += 0 if image.format == "PNG" else BLANK_PIXELS
            _require_plausible([image.size], most, length, where)
            largest = max(LARGEST_TILE * image.width * image.height, BLANK_PIXELS)
            _require_plausible(_tiles(image), min(most, largest), length, where)
            _require_memory(image, file, where)
            yield image


def picture_format(source: Path | bytes, formats: Sequence[str] = PICTURES) -> str | None:
    """Returns Pillow's name of a picture's format; None if it is no picture of these formats."""
    with quiet_pillow():
        try:
            with opened(source) as file, _image(file, formats) as image:
                return image.format
        except MemoryError:
            raise
        except Exception:  # whatever a parser runs into: it is none
            return None


def _require_memory(image: Image.Image, file: BinaryIO, where: object) -> None:
    if image.format in ("JPEG", "MPO"):
        _fit_jpeg(image, file, where)
    else:
        _require_pixels(image.size, _most_pixels(image), where)


def _image(file: BinaryIO, formats: Sequence[str]) -> Image.Image:
    known = [name for name in formats if name in Image.OPEN or _registered(name)]
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # it is checked here
    try:
        return Image.open(file, formats=known)
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _registered(name: str) -> bool:
    Image.init()
    return name in Image.OPEN


def _most_pixels(image: Image.Image) -> int:
    cost = _COSTS.get(image.format or "", 1)
    if image.mode in DEEP_MODES:
        cost = max(cost, _DEEP_COST)
    elif image.mode in ("LA", "PA"):
        cost = max(cost, _LAYERED_COST)
    return min(MOST_PIXELS, MOST_BYTES // cost)


def _fit_jpeg(image: Image.Image, file: BinaryIO, where: object) -> None:
    """Asks for a part of the size of a JPEG that is too large.

    Raises:
        OmnijetError: it is too large even so, or has scans that take minutes.
    """
    before = file.tell()
    scans, at_once = scans_of(file)
    file.seek(before)
    if scans > MOST_SCANS or scans * image.width * image.height > MOST_SCANNED:
        raise OmnijetError(
            "the picture has too many scans",
            where=where, expected=f"a JPEG of at most {MOST_SCANS} scans",
            got=f"{scans} scans of {image.width} x {image.height} pixels",
            fix="store it again as PNG",
        )  # fmt: skip
    width, height = image.size
    if at_once and not image.info.get("progressive") and width * height > MOST_PIXELS:
        shrink = math.sqrt(ENOUGH_PIXELS / (width * height))
        image.draft("RGB", (math.ceil(width * shrink), math.ceil(height * shrink)))
        if image.width * image.height <= MOST_PIXELS:
            return
    _require_pixels((width, height), MOST_PIXELS, where)


def _require_pixels(size: tuple[int, int], most: int, where: object) -> None:
    width, height = size
    if width * height > most:
        raise OmnijetError(
            "the picture has too many pixels",
            where=where,
            expected=f"at most {most / 1e6:.0f} megapixels in its format; a JPEG that is not "
            f"progressive may have {64 * MOST_PIXELS // 10**6}",
            got=f"{width} x {height}, {width * height / 1e6:.0f} megapixels",
            fix="make it smaller, for example: ffmpeg -i FILE -vf scale=4000:-1 out.jpg",
        )


def _require_plausible(
    sizes: Iterable[tuple[int, int]], most: int, length: int, where: object
) -> None:
    """Raises `OmnijetError` if a header announces what the bytes after it cannot hold."""
    for width, height in sizes:
        if width * height > most:
            raise OmnijetError(
                "the picture announces more pixels than it can hold",
                where=where,
                expected=f"at most {most:,} pixels in {length:,} bytes",
                got=f"{width} x {height}, {width * height:,} pixels",
                fix="check that the file is complete",
            )


def _tiles(image: Image.Image) -> list[tuple[int, int]]:
    """Returns the size of the tiles of a TIFF: a decoder makes room for one, however large."""
    tags = getattr(image, "tag_v2", {})
    width, height = tags.get(322, 0), tags.get(323, 0)
    return [(width, height)] if isinstance(width, int) and isinstance(height, int) else []
