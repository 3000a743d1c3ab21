"""Clips on the host: frames sampled at 2 per second and resized, and their sound.

Sampling and sizes are those of `qwen_omni_utils` (v2_5/vision_process.py), the loader
published with the model; patches are those of `Qwen2VLVideoProcessor`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.cancel import Check, never
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.audio import has_audio, load_audio
from omnijet.runtime.media.image import (
    Frames,
    Grid,
    ImageSource,
    fitted_size,
    frame_patches,
    load_image,
    resized,
)
from omnijet.runtime.media.kind import way_out
from omnijet.runtime.media.source import Source, is_source, named, opened, readable

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
    check: Check = never,
) -> Video:
    """Reads a clip and keeps the sampled frames, resized.

    Args:
        source: a `Source`, or frames taken at `preprocessing.video_fps`: an array uint8[n, height,
            width, 3] or a sequence of pictures of one size.
        with_audio: whether to read the file's sound too.
        where: names the clip in messages; the path or "video frames" by default.
        check: called before each frame; it may raise to cancel.

    Raises:
        OmnijetError: the clip cannot be read, has no frame, or has an aspect ratio above 200.
    """
    if not is_source(source):
        frames = cast("npt.NDArray[Any] | Sequence[ImageSource]", source)
        return _from_frames(frames, preprocessing, "video frames" if where is None else where)
    where = named(source) if where is None else where
    path = readable(source, "video", where, check)
    try:
        frames, fps = _read_file(path, preprocessing, where, check)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _unreadable(path, where, error) from error
    return Video(
        frames, fps, load_clip_sound(path, preprocessing, where, check) if with_audio else None
    )


def load_clip_sound(
    source: Source, preprocessing: Preprocessing, where: object, check: Check = never
) -> Array | None:
    """Reads the sound of a clip alone: f32[samples], or None if it has none.

    Raises:
        OmnijetError: the clip cannot be read.
    """
    path = readable(source, "video", where, check)
    try:
        if not has_audio(path):
            return None
    except (av.FFmpegError, OSError) as error:
        raise _unreadable(path, where, error) from error
    seconds = float(preprocessing.max_audio_seconds)
    return load_audio(path, preprocessing.sample_rate_hz, seconds, where, check=check)


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


def frame_count(total: int, clip_fps: float, preprocessing: Preprocessing) -> int:
    """Returns how many of `total` frames are taken; 1 only if the clip has a single frame."""
    depth = preprocessing.temporal_patch
    least = -(-preprocessing.video_min_frames // depth) * depth
    most = min(preprocessing.video_max_frames, total) // depth * depth
    wanted = min(max(total / clip_fps * preprocessing.video_fps, least), most, total)
    return max(math.floor(wanted / depth) * depth, 1)


def frame_indices(total: int, count: int) -> npt.NDArray[np.int64]:
    """Returns the indices of the frames that are taken, evenly spaced: i64[count].

    The reference rounds in single precision: beyond 2000 frames, about one index in a thousand
    may differ from the reference's by 1.
    """
    return np.rint(np.linspace(0, total - 1, count)).astype(np.int64)


def _size(
    height: int, width: int, count: int, preprocessing: Preprocessing, where: object
) -> tuple[int, int]:
    """Returns the size of each of `count` frames: frames of a long clip are smaller."""
    shared = preprocessing.video_total_pixels / count * preprocessing.temporal_patch
    most = max(
        min(preprocessing.video_max_pixels, shared), int(preprocessing.video_min_pixels * 1.05)
    )
    return fitted_size(height, width, preprocessing, preprocessing.video_min_pixels, most, where)


def _unreadable(source: Path | bytes, where: object, error: Exception) -> OmnijetError:
    return OmnijetError(
        "the video cannot be read",
        where=where,
        expected="a clip with a picture that FFmpeg reads",
        got=f"{type(error).__name__}: {error}",
        fix=way_out(source, "video")
        or "check that the file is complete, or convert it: ffmpeg -i FILE out.mp4",
    )


def _read_file(
    path: Path | bytes, preprocessing: Preprocessing, where: object, check: Check
) -> tuple[Frames, float]:
    with av.open(opened(path), "r") as container:
        if not container.streams.video:
            raise ValueError("it has no picture track")
        stream = container.streams.video[0]
        total = sum(1 for packet in container.demux(stream) if packet.size)
        fps = float(stream.average_rate or stream.guessed_rate or 0)
    if total < 1:
        raise ValueError("it has no frame")
    if fps <= 0:
        raise ValueError("its frame rate is unknown")
    while True:
        frames, decoded = _sample(path, total, fps, preprocessing, where, check)
        if decoded == total:
            return frames, len(frames) / total * fps
        if decoded < 1:
            raise ValueError("it has no frame")
        # packets and frames may differ in number: sample again from the frames that decoding gave
        total = decoded


def _sample(
    path: Path | bytes,
    total: int,
    fps: float,
    preprocessing: Preprocessing,
    where: object,
    check: Check,
) -> tuple[Frames, int]:
    """Returns the frames sampled for `total` frames, and how many frames the clip really has."""
    indices = frame_indices(total, frame_count(total, fps, preprocessing))
    frames: Frames | None = None
    taken, decoded = 0, 0
    for frame in _decode(path):
        check()
        if taken < len(indices) and indices[taken] == decoded:
            image = Image.fromarray(_upright(frame))
            if frames is None:
                size = _size(image.height, image.width, len(indices), preprocessing, where)
                frames = np.empty((len(indices), *size, 3), np.uint8)
            shown = np.asarray(resized(image, (frames.shape[1], frames.shape[2])))
            while taken < len(indices) and indices[taken] == decoded:
                frames[taken] = shown
                taken += 1
        decoded += 1
    if frames is None:
        return np.empty((0, 0, 0, 3), np.uint8), decoded
    return frames, decoded


def _decode(path: Path | bytes) -> Iterator[av.VideoFrame]:
    with av.open(opened(path), "r") as container:
        container.streams.video[0].thread_type = "AUTO"
        yield from container.decode(video=0)


def _upright(frame: av.VideoFrame) -> npt.NDArray[np.uint8]:
    """Returns uint8[height, width, 3]: phones store rotated clips with the angle beside."""
    pixels: npt.NDArray[np.uint8] = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _from_frames(
    source: npt.NDArray[Any] | Sequence[ImageSource], preprocessing: Preprocessing, where: object
) -> Video:
    if isinstance(source, np.ndarray) and source.ndim != 4:
        raise OmnijetError(
            "the video array is unusable",
            where=where,
            expected="uint8[frames, height, width, 3]",
            got=f"{source.dtype} {list(source.shape)}",
        )
    images = [load_image(item, f"{where}, frame {i + 1}") for i, item in enumerate(source)]
    if not images:
        raise OmnijetError("the video is empty", where=where, expected="1 frame or more", got=0)
    sizes = {image.size for image in images}
    if len(sizes) > 1:
        raise OmnijetError(
            "the frames of a video differ in size",
            where=where,
            expected="one size (width, height)",
            got=sorted(sizes),
            fix="resize them first",
        )
    size = _size(images[0].height, images[0].width, len(images), preprocessing, where)
    frames = np.stack([np.asarray(resized(image, size)) for image in images])
    return Video(frames, preprocessing.video_fps, None)
