"""Pictures on the host: reads any file or array as RGB, and cuts it into normalised patches.

The results equal those of `Qwen2VLImageProcessor` of transformers 4.57.6 (the PIL one) bit
for bit.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.cancel import Check, never
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.allowed import PICTURES_TEXT, foreign
from omnijet.runtime.media.kind import way_out
from omnijet.runtime.media.picture_file import picture_of, quiet_pillow
from omnijet.runtime.media.picture_modes import DEEPEST, as_rgb, grey_levels
from omnijet.runtime.media.sizing import AS_THE_MODEL_HAS_IT, SHARE, Ceiling, Sizing
from omnijet.runtime.media.source import Source, is_source, named, readable

ImageSource: TypeAlias = Source | Image.Image | npt.NDArray[Any]
Frames: TypeAlias = npt.NDArray[np.uint8]  # [frames, height, width, 3]
Grid: TypeAlias = tuple[int, int, int]  # temporal steps, rows, columns, in patches

_log = logging.getLogger(__name__)

MAX_ASPECT = 200
ORIENTATION = 0x0112  # of the EXIF tags


def smart_resize(
    height: int, width: int, factor: int, min_pixels: float, max_pixels: float
) -> tuple[int, int]:
    """Returns the size (height, width) that a picture is resized to.

    The sides are multiples of `factor`, the area is between the limits, and the aspect ratio is
    kept as well as they allow.

    Source: `smart_resize` of transformers 4.57.6, with its rounding (half to even).

    Raises:
        OmnijetError: the picture is empty, or one side is over 200 times the other.
    """
    if min(height, width) < 1 or max(height, width) / min(height, width) > MAX_ASPECT:
        raise OmnijetError(
            "the picture's shape is unusable",
            expected=f"an aspect ratio of at most {MAX_ASPECT}",
            got=f"{width} x {height} pixels",
            fix="crop or pad it",
        )
    rows, columns = round(height / factor), round(width / factor)
    if rows * columns * factor * factor > max_pixels:
        shrink = math.sqrt((height * width) / max_pixels)
        rows = max(1, math.floor(height / shrink / factor))
        columns = max(1, math.floor(width / shrink / factor))
    elif rows * columns * factor * factor < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        rows = math.ceil(height * grow / factor)
        columns = math.ceil(width * grow / factor)
    return rows * factor, columns * factor


def load_image(source: ImageSource, where: object = None, check: Check = never) -> Image.Image:
    """Reads a picture as upright RGB, see `as_rgb`.

    Args:
        source: a `Source`, a PIL image, or an array [height, width] or [height, width, 1, 3 or
            4] of uint8, of uint16, or of floats in [0, 1].
        where: names the picture in messages; the path or "image" by default.
        check: called while a pipe has nothing to read; it may raise to cancel.

    Raises:
        OmnijetError: the picture cannot be read, or has more pixels than fit 2 GB of memory.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, "image" if where is None else where)
    found: Path | bytes | None = None
    if is_source(source):
        where = named(source) if where is None else where
        found = readable(source, "picture", where, check)
    where = "image" if where is None else where
    try:
        # Pillow's remarks about damaged metadata and large pictures help nobody here
        with quiet_pillow():
            if isinstance(source, Image.Image):
                return _upright_rgb(source)
            assert found is not None
            with picture_of(found, where) as image:
                return _upright_rgb(image)
    except (OmnijetError, MemoryError):
        raise
    except Exception as error:  # Pillow raises whatever its parsers run into on a damaged file
        raise _unreadable(found, where, error) from error


def _unreadable(found: Path | bytes | None, where: object, error: Exception) -> OmnijetError:
    other = None if found is None else foreign(found)
    hint = None if found is None or other is not None else way_out(found, "image")
    said = str(error).split("<")[0].strip() or "no reason is given"
    return OmnijetError(
        "the picture cannot be read",
        where=where,
        expected=PICTURES_TEXT,
        got=other or f"{type(error).__name__}: {said}",
        fix=hint or ("convert it to PNG" if other else "check that the file is complete"),
    )


def image_patches(
    image: Image.Image,
    preprocessing: Preprocessing,
    where: object = "image",
    check: Check = never,
    sizing: Sizing = AS_THE_MODEL_HAS_IT,
    ceiling: Ceiling | None = None,
) -> tuple[Array, Grid]:
    """Cuts one RGB picture into patches; it fills both frames of the temporal patch.

    Args:
        check: called between the pieces of the work; it may raise to cancel.
        sizing: wishes about the size, kept within the limits of the preprocessing.
        ceiling: what the machine takes; a picture that is larger is made to fit, with a warning.

    Returns:
        f32[h * w, 3 * temporal_patch * patch * patch] in merge order, and the grid (1, h, w).

    Raises:
        OmnijetError: the aspect ratio is above 200.
    """
    frame = image_frame(image, preprocessing, where, sizing, ceiling)
    return frame_patches(frame, preprocessing, check)


def image_frame(
    image: Image.Image,
    preprocessing: Preprocessing,
    where: object = "image",
    sizing: Sizing = AS_THE_MODEL_HAS_IT,
    ceiling: Ceiling | None = None,
) -> Frames:
    """Resizes one RGB picture to what the model sees: uint8[1, height, width, 3].

    Args and errors are those of `image_patches`.
    """
    size = _picture_size(image, preprocessing, where, sizing)
    if ceiling is not None:
        size = below(size, preprocessing, ceiling, where)
    return np.asarray(resized(image, size))[None]


def below(
    size: tuple[int, int],
    preprocessing: Preprocessing,
    ceiling: Ceiling,
    where: object,
    count: int = 1,
) -> tuple[int, int]:
    """Returns a size (height, width) that the machine takes, and says so if it is another.

    Args:
        count: frames of a clip; 1 for a picture.
    """
    depth = 1 if count == 1 else preprocessing.temporal_patch
    if size[0] * size[1] <= ceiling.area(count, depth):
        return size
    most = ceiling.area(count, depth, SHARE)
    if count > 1:  # smaller frames would be blurred: fewer are kept, if they are still too many
        most = max(most, min(preprocessing.video_min_pixels, ceiling.area(1, 1, SHARE)))
    cell = preprocessing.factor
    height, width = fitted_size(*size, preprocessing, min(cell**2, most), most, where)
    # a strip of one cell's width keeps its aspect ratio there, and more pixels than it may have
    longest = max(int(most) // (min(height, width) * cell), 1) * cell
    made = min(height, longest), min(width, longest)
    _log.warning(
        "%s: shown to the model with %d x %d pixels instead of %d x %d; %s",
        where, made[1], made[0], size[1], size[0], ceiling.more,
    )  # fmt: skip
    return made


def _picture_size(
    image: Image.Image, preprocessing: Preprocessing, where: object, sizing: Sizing
) -> tuple[int, int]:
    """Returns (height, width) as the published loader and the processor have it."""
    least, most = preprocessing.image_min_pixels, preprocessing.image_max_pixels
    height, width = image.height, image.width
    if sizing.resized_height is not None and sizing.resized_width is not None:
        height, width = sizing.resized_height, sizing.resized_width
    else:
        wished = sizing.max_pixels or most
        most = max(min(most, wished), least)
        least = min(max(least, sizing.min_pixels or least), most)
    return fitted_size(height, width, preprocessing, least, most, where)


def fitted_size(
    height: int,
    width: int,
    preprocessing: Preprocessing,
    min_pixels: float,
    max_pixels: float,
    where: object,
) -> tuple[int, int]:
    """Returns the size from `smart_resize`; errors name the picture."""
    try:
        return smart_resize(height, width, preprocessing.factor, min_pixels, max_pixels)
    except OmnijetError as error:
        raise OmnijetError(
            error.what, where=where, expected=error.expected, got=error.got, fix=error.fix
        ) from None


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Returns the picture resized to (height, width), bicubic with antialiasing."""
    return image.resize((size[1], size[0]), resample=Image.Resampling.BICUBIC)


def frame_patches(
    frames: Frames, preprocessing: Preprocessing, check: Check = never
) -> tuple[Array, Grid]:
    """Cuts frames into normalised patches; their sides must be multiples of the factor.

    The last frame is repeated to fill the last temporal patch.

    Args:
        frames: uint8[n, height, width, 3].
        check: called before each frame; it may raise to cancel.

    Returns:
        f32[t * h * w, 3 * temporal_patch * patch * patch] and the grid (t, h, w). Rows are
        ordered by time, then by merged cell in raster order, then by patch of the cell. Values
        of a row are ordered by colour, frame, pixel row and pixel column.
    """
    count, height, width, _ = frames.shape
    merge, patch, depth = preprocessing.merge, preprocessing.patch, preprocessing.temporal_patch
    rows, columns, steps = height // patch, width // patch, -(-count // depth)
    assert (rows * patch, columns * patch) == (height, width) and not rows % merge
    made = np.empty(
        (steps, rows // merge, columns // merge, merge, merge, 3, depth, patch, patch), np.float32
    )
    levels = _levels(preprocessing)
    for step in range(steps):
        shown = None
        for slot in range(depth):
            index = step * depth + slot
            if index < count or shown is None:
                check()
                shown = _patch_order(frames[min(index, count - 1)], merge, patch)
                shown = np.take(levels, shown)
            made[step, :, :, :, :, :, slot] = shown
    return made.reshape(steps * rows * columns, -1), (steps, rows, columns)


def _patch_order(frame: npt.NDArray[np.uint8], merge: int, patch: int) -> npt.NDArray[np.intp]:
    """Maps uint8[height, width, 3] to indices into the flattened levels.

    Returns:
        intp[cell rows, cell columns, merge, merge, 3, patch, patch].
    """
    height, width, _ = frame.shape
    side = merge * patch
    cells = frame.reshape(height // side, merge, patch, width // side, merge, patch, 3)
    moved = np.ascontiguousarray(cells.transpose(0, 3, 1, 4, 6, 2, 5)).astype(np.intp)
    moved += 256 * np.arange(3)[:, None, None]
    return moved


def _levels(preprocessing: Preprocessing) -> Array:
    """Returns the normalised value of each of 256 levels, colour after colour: f32[768].

    Levels are scaled in double precision, rounded, and normalised in single precision, as in
    the reference.
    """
    scaled = (np.arange(256, dtype=np.float64) * (1 / 255)).astype(np.float32)
    mean = np.array(preprocessing.mean, np.float32)[:, None]
    std = np.array(preprocessing.std, np.float32)[:, None]
    return np.ravel((scaled - mean) / std)


def _upright_rgb(image: Image.Image) -> Image.Image:
    image.load()
    if image.getexif().get(ORIENTATION, 1) == 1:  # else a copy is made, of what may be a gigabyte
        return as_rgb(image)
    form = image.format
    upright = ImageOps.exif_transpose(image)
    upright.format = form  # it says how deep greys are
    return as_rgb(upright)


def _from_array(array: npt.NDArray[Any], where: object) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    shaped = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    levels: npt.NDArray[np.uint8] | None = None
    if shaped and array.size and array.dtype == np.uint8:
        levels = array
    elif shaped and array.size and array.dtype == np.uint16:
        levels = grey_levels(array, DEEPEST)
    elif shaped and array.size and array.dtype.kind == "f":
        in_range = np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1
        levels = grey_levels(array, 1.0) if in_range else None
    if levels is None:
        raise OmnijetError(
            "the picture array is unusable",
            where=where,
            expected="[height, width] or [height, width, 1, 3 or 4]: uint8 from 0 to 255, uint16, "
            "or floats from 0 to 1",
            got=f"{array.dtype} {list(array.shape)}",
            fix="for floats from 0 to 255: array.astype(np.uint8)"
            if array.dtype.kind == "f"
            else None,
        )
    return as_rgb(Image.fromarray(levels))
