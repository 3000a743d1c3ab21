"""Makes pictures and clips that were read smaller, so that a conversation fits its context."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image as PillowImage

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.media.image import Frames, Grid, fitted_size, frame_patches, resized
from omnijet.runtime.prompt.medium import Medium, picture_input
from omnijet.runtime.prompt.messages import Image, Message, Video

_log = logging.getLogger(__name__)


def fit(messages: Sequence[Message], excess: int, preprocessing: Preprocessing, more: str) -> bool:
    """Shrinks all pictures and clips that were not encoded yet, each by the same share.

    Args:
        messages: the conversation; the media of its parts are replaced.
        excess: tokens that must go.
        more: how to get more room, for the warning.

    Returns:
        Whether so many could go.
    """
    parts = [
        part
        for message in messages
        for part in message.parts
        if isinstance(part, Image | Video) and _is_new(part.medium)
    ]
    media = [part.medium for part in parts if part.medium is not None]
    tokens = sum(_tokens(medium) for medium in media)
    left = tokens - excess
    least = sum(_least_cells(medium, preprocessing) for medium in media)
    if left < least:
        return False
    for part, medium in zip(parts, media, strict=True):
        part.medium = shrunk(medium, _tokens(medium) * left // tokens, preprocessing)
    made = sum(_tokens(part.medium) for part in parts if part.medium is not None)
    _log.warning(
        "the pictures and clips were made smaller to fit the context: %d tokens instead of %d; "
        "%s", made, tokens, more,
    )  # fmt: skip
    return made <= left


def shrunk(medium: Medium, tokens: int, preprocessing: Preprocessing) -> Medium:
    """Returns a picture or clip of at most so many tokens.

    Frames become smaller first; when they are as small as frames of a long clip may be, fewer
    are kept, evenly spaced.

    Args:
        medium: one that was not encoded yet.
        tokens: at least those of its smallest form.
    """
    seen = medium.seen
    assert seen is not None and seen.content is not None and seen.grid is not None
    frames = _frames(seen.content, seen.grid, preprocessing)
    steps = seen.grid[0]
    least = _least_cells(medium, preprocessing)
    kept = max(1, min(steps, tokens // least))
    if kept < steps:
        depth = preprocessing.temporal_patch
        chosen = np.rint(np.linspace(0, steps - 1, kept)).astype(np.int64)
        frames = frames.reshape(steps, depth, *frames.shape[1:])[chosen].reshape(
            kept * depth, *frames.shape[1:]
        )
    cells = max(tokens // kept, least)
    height, width = frames.shape[1:3]
    area = float(cells * preprocessing.factor**2)
    size = fitted_size(height, width, preprocessing, preprocessing.factor**2, area, "a picture")
    if size != (height, width):
        pictures = [PillowImage.fromarray(frame) for frame in frames]
        frames = np.stack([np.asarray(resized(picture, size)) for picture in pictures])
    patches, grid = frame_patches(frames, preprocessing)
    merge = preprocessing.merge
    shape = replace(medium.shape, grid=(grid[0], grid[1] // merge, grid[2] // merge))
    return replace(medium, shape=shape, seen=picture_input(patches, grid, merge))


def _is_new(medium: Medium | None) -> bool:
    seen = None if medium is None else medium.seen
    return (
        seen is not None and seen.content is not None and all(made is None for made in seen.encoded)
    )


def _tokens(medium: Medium) -> int:
    assert medium.seen is not None
    return int(medium.seen.fingerprints.size)


def _least_cells(medium: Medium, preprocessing: Preprocessing) -> int:
    """Returns the fewest cells of a frame that still shows something."""
    assert medium.seen is not None and medium.seen.grid is not None
    steps, height, width = medium.seen.grid
    own = height * width // preprocessing.merge**2
    is_clip = steps > 1
    pixels = preprocessing.video_min_pixels if is_clip else preprocessing.image_min_pixels
    return max(1, min(own, pixels // preprocessing.factor**2))


def _frames(patches: Array, grid: Grid, preprocessing: Preprocessing) -> Frames:
    """Returns the frames whose patches these are: inverts `frame_patches`."""
    steps, rows, columns = grid
    merge, patch, depth = preprocessing.merge, preprocessing.patch, preprocessing.temporal_patch
    cut = patches.reshape(
        steps, rows // merge, columns // merge, merge, merge, 3, depth, patch, patch
    )
    made = np.empty((steps * depth, rows * patch, columns * patch, 3), np.uint8)
    mean = np.array(preprocessing.mean, np.float32)
    std = np.array(preprocessing.std, np.float32)
    for step in range(steps):
        for slot in range(depth):
            # [cell row, row of the cell, patch row, cell column, column of it, patch column, RGB]
            shown = cut[step, :, :, :, :, :, slot].transpose(0, 2, 5, 1, 3, 6, 4)
            flat = shown.reshape(rows * patch, columns * patch, 3)
            made[step * depth + slot] = np.clip(np.rint((flat * std + mean) * 255), 0, 255)
    return made
