"""Clips on the host: frames sampled at 2 per second and resized, and their sound.

Sampling and sizes are those of `qwen_omni_utils` (v2_5/vision_process.py), the loader
published with the model; patches are those of `Qwen2VLVideoProcessor`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import av
import numpy as np
import numpy.typing as npt

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.cancel import Check, never
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.allowed import CONTAINERS_TEXT, foreign
from omnijet.runtime.media.animation import Animation, is_picture
from omnijet.runtime.media.clip_frames import Report, Sampler
from omnijet.runtime.media.clip_sound import read_clip_sound
from omnijet.runtime.media.container import reason
from omnijet.runtime.media.film import Film
from omnijet.runtime.media.image import (
    Frames,
    Grid,
    ImageSource,
    frame_patches,
    load_image,
    resized,
)
from omnijet.runtime.media.kind import way_out
from omnijet.runtime.media.sizing import AS_THE_MODEL_HAS_IT, Ceiling, Sizing
from omnijet.runtime.media.source import Source, is_source, named, readable

VideoSource: TypeAlias = Source | npt.NDArray[Any] | Sequence[ImageSource]


@dataclass(frozen=True, slots=True, eq=False)
class Video:
    """A sampled clip.

    Attributes:
        frames: uint8[n, height, width, 3], sides multiples of a merged cell.
        fps_sampled: frames taken per second of the clip. The model assumes another rate, see
            `second_per_grid`.
        audio: f32[samples] at the rate of the preprocessing; None if the clip has no sound or
            it was not requested.
    """

    frames: Frames
    fps_sampled: float
    audio: Array | None


def load_video(
    source: VideoSource,
    preprocessing: Preprocessing,
    with_audio: bool,
    where: object = None,
    sizing: Sizing = AS_THE_MODEL_HAS_IT,
    check: Check = never,
    report: Report | None = None,
    ceiling: Ceiling | None = None,
) -> Video:
    """Reads a clip and keeps the sampled frames, resized.

    Args:
        source: a `Source` (a clip, or an animated picture), or frames taken at
            `preprocessing.video_fps`: an array uint8[n, height, width, 3] or a sequence of
            pictures of one size.
        with_audio: whether to read the file's sound too.
        where: names the clip in messages; the path or "video frames" by default.
        sizing: wishes about the frames. Of frames that are given, all are taken.
        check: called before each frame; it may raise to cancel.
        report: called with the frames that were taken, and how many will be.
        ceiling: what the machine takes; larger frames are made to fit, with a warning.

    Raises:
        OmnijetError: the clip cannot be read, has no frame, or has an aspect ratio above 200;
            the wishes cannot be met.
    """
    if not is_source(source):
        where = "video frames" if where is None else where
        given = cast("npt.NDArray[Any] | Sequence[ImageSource]", source)
        return _from_frames(given, Sampler(preprocessing, sizing, where, ceiling=ceiling), check)
    where = named(source) if where is None else where
    found = readable(source, "video", where, check)
    reel = (Animation if is_picture(found) else Film)(found, where, check)
    try:
        frames, fps = Sampler(preprocessing, sizing, where, report, ceiling).sample(reel)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _unreadable(found, where, error) from error
    heard = None
    if with_audio:
        heard = load_clip_sound(found, preprocessing, where, sizing, check)
    return Video(frames, fps, heard)


def load_clip_sound(
    source: Source,
    preprocessing: Preprocessing,
    where: object,
    sizing: Sizing = AS_THE_MODEL_HAS_IT,
    check: Check = never,
) -> Array | None:
    """Reads the sound of a clip alone: f32[samples], or None if there is nothing to hear.

    Raises:
        OmnijetError: the clip cannot be read.
    """
    found = readable(source, "video", where, check)
    if is_picture(found):
        return None
    try:
        return read_clip_sound(found, preprocessing, sizing, where, check)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _unreadable(found, where, error) from error


def video_patches(
    frames: Frames, preprocessing: Preprocessing, check: Check = never
) -> tuple[Array, Grid]:
    """Cuts a clip into normalised patches; an odd last frame is used twice.

    Args:
        check: called before each frame; it may raise to cancel.

    Returns:
        f32[t * h * w, 3 * temporal_patch * patch * patch], and the grid (t, h, w).
    """
    return frame_patches(frames, preprocessing, check)


def second_per_grid(preprocessing: Preprocessing) -> float:
    """Returns the seconds per temporal step that the positions assume: 1.0.

    They come from the nominal rate, as in the reference processor by default. Clips with fewer
    than `video_min_frames` or more than `video_max_frames` frames at that rate are sampled at
    another one, but their positions assume the nominal rate too.
    """
    return preprocessing.temporal_patch / preprocessing.video_fps


def _unreadable(source: Path | bytes, where: object, error: Exception) -> OmnijetError:
    other = foreign(source)
    return OmnijetError(
        "the video cannot be read",
        where=where,
        expected=f"a clip with a picture: {CONTAINERS_TEXT}",
        got=other or reason(error),
        fix=(None if other else way_out(source, "video"))
        or "check that the file is complete, or convert it: ffmpeg -i FILE out.mp4",
    )


def _from_frames(
    source: npt.NDArray[Any] | Sequence[ImageSource], sampler: Sampler, check: Check
) -> Video:
    where = sampler.where
    if isinstance(source, np.ndarray) and source.ndim != 4:
        raise OmnijetError(
            "the video array is unusable",
            where=where,
            expected="uint8[frames, height, width, 3]",
            got=f"{source.dtype} {list(source.shape)}",
        )
    if not len(source):
        raise OmnijetError("the video is empty", where=where, expected="1 frame or more", got=0)
    shown: list[npt.NDArray[np.uint8]] = []
    sizes: set[tuple[int, int]] = set()
    for number, item in enumerate(source, start=1):
        check()
        image = load_image(item, f"{where}, frame {number}")
        sizes.add(image.size)
        if number == 1:
            size = sampler.size(image.height, image.width, len(source))
        if len(sizes) == 1:
            shown.append(np.asarray(resized(image, size)))
    if len(sizes) > 1:
        raise OmnijetError(
            "the frames of a video differ in size",
            where=where,
            expected="one size (width, height)",
            got=sorted(sizes),
            fix="resize them first",
        )
    return Video(np.stack(shown), sampler.preprocessing.video_fps, None)
