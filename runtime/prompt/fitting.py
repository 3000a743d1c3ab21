"""Makes pictures and clips that were read smaller, so that a conversation fits its context."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image as PillowImage

from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.media.cut_frames import CutFrames
from omnijet.runtime.media.image import fitted_size, resized
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
    assert seen is not None and isinstance(seen.content, CutFrames)
    frames, (steps, _, _) = seen.content.frames, seen.content.grid
    least = _least_cells(medium, preprocessing)
    kept = max(1, min(steps, tokens // least))
    if kept < steps:
        depth = preprocessing.temporal_patch
        chosen = np.rint(np.linspace(0, steps - 1, kept)).astype(np.int64)
        # the last frame fills the last step
        indices = (chosen[:, None] * depth + np.arange(depth)).ravel()
        frames = frames[np.minimum(indices, len(frames) - 1)]
    cells = max(tokens // kept, least)
    height, width = frames.shape[1:3]
    area = float(cells * preprocessing.factor**2)
    size = fitted_size(height, width, preprocessing, preprocessing.factor**2, area, "a picture")
    if size != (height, width):
        pictures = [PillowImage.fromarray(frame) for frame in frames]
        frames = np.stack([np.asarray(resized(picture, size)) for picture in pictures])
    made = picture_input(frames, preprocessing)
    assert made.grid is not None
    merge = preprocessing.merge
    shape = replace(medium.shape, grid=(made.grid[0], made.grid[1] // merge, made.grid[2] // merge))
    return replace(medium, shape=shape, seen=made)


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
