"""Which frames of a clip are taken: by number where they come evenly, by time where they do not.

The count, and the choice among evenly spaced frames, are those of `qwen_omni_utils`
(v2_5/vision_process.py), the loader published with the model. It believes the header's rate,
which browsers, screen recorders and phones often leave wrong; then the timestamps decide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.media.clip_times import Stamps
from omnijet.runtime.media.sizing import Sizing

_NO_WISHES = Sizing()

Ordinals = npt.NDArray[np.int64]

LOOSEST_SECONDS = 0.04  # a frame of film: nothing is seen to move in less
HELD_SECONDS = 0.25  # a last frame that stays longer than others is held if it stays this long
SAME_SECONDS = 1e-6  # times closer than this are the same


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """The frames that are taken.

    Attributes:
        frames: i64[count], numbers of frames in the order of display; one may be taken again.
        fps_sampled: frames taken per second.
        is_by_header: whether these are the frames that the published loader takes.
    """

    frames: Ordinals
    fps_sampled: float
    is_by_header: bool


class EmptyStretchError(ValueError):
    """The stretch that is wanted holds no frame."""


def choose(stamps: Stamps, preprocessing: Preprocessing, sizing: Sizing) -> Choice:
    """Chooses frames of a clip.

    Raises:
        EmptyStretchError: none lies between `sizing.video_start` and `video_end`.
    """
    rate = steady_rate(stamps, preprocessing.video_fps)
    if rate is None:
        frames, sampled = _by_time(stamps, preprocessing, sizing)
    else:
        frames, sampled = _by_number(len(stamps.seconds), rate, preprocessing, sizing)
    return Choice(frames, sampled, _is_by_header(frames, stamps, preprocessing, sizing))


def steady_rate(stamps: Stamps, video_fps: float) -> float | None:
    """Returns the rate of frames that come evenly; None if they do not.

    It is the header's rate if the timestamps follow it within half a frame, which hides the
    rounding of a container's clock and the jitter of a camera. Otherwise it is measured, unless
    frames come more slowly than they are wanted: then each stays for more than one choice.
    """
    times = stamps.seconds
    count = len(times)
    if count == 1:
        return stamps.header_fps or video_fps
    numbers = np.arange(count)
    if stamps.header_fps is not None:
        period = 1 / stamps.header_fps
        drift = times - numbers * period
        # within `slack` on both sides of a line whose start is free
        even = float(np.ptp(drift)) <= 2 * _slack(period, stamps.tick)
        if even and not _is_held(stamps, period):
            return stamps.header_fps
    period = float(times[-1]) / (count - 1)
    if count == 2 or period <= 0 or period * video_fps > 1.001 or _is_held(stamps, period):
        return None
    if np.abs(times - numbers * period).max() > _slack(period, stamps.tick):
        return None
    return _rounded_rate(period, 2 * stamps.tick / (count - 1))


def frame_count(
    total: int,
    clip_fps: float,
    preprocessing: Preprocessing,
    sizing: Sizing = _NO_WISHES,
) -> int:
    """Returns how many of `total` frames are taken; 1 only if the clip has a single frame."""
    depth = preprocessing.temporal_patch
    if sizing.nframes is not None:
        return max(min(round(sizing.nframes / depth) * depth, _even(total, depth)), 1)
    least, most = _limits(preprocessing, sizing)
    wanted = total / clip_fps * (sizing.fps or preprocessing.video_fps)
    return max(_even(min(max(wanted, least), most, total), depth), 1)


def frame_indices(total: int, count: int) -> Ordinals:
    """Returns the indices of the frames that are taken, evenly spaced: i64[count].

    The reference rounds in single precision: beyond 2000 frames, about one index in a thousand
    may differ from the reference's by 1.
    """
    return np.rint(np.linspace(0, total - 1, count)).astype(np.int64)


def _by_number(
    total: int, rate: float, preprocessing: Preprocessing, sizing: Sizing
) -> tuple[Ordinals, float]:
    first, last = 0, total - 1
    if sizing.video_start is not None:
        first = math.ceil(min(sizing.video_start, total / rate) * rate)
    if sizing.video_end is not None:
        last = min(math.floor(min(sizing.video_end, total / rate) * rate), last)
    if first > last:
        raise EmptyStretchError
    stretch = last - first + 1
    count = frame_count(stretch, rate, preprocessing, sizing)
    return first + frame_indices(stretch, count), count / stretch * rate


def _by_time(
    stamps: Stamps, preprocessing: Preprocessing, sizing: Sizing
) -> tuple[Ordinals, float]:
    """Wants times that are evenly spaced, and takes the frames that are on display then."""
    whole = stamps.duration
    begin = min(sizing.video_start or 0.0, whole)
    end = whole if sizing.video_end is None else min(sizing.video_end, whole)
    if begin >= end:
        raise EmptyStretchError
    count = _count_by_time(end - begin, stamps, preprocessing, sizing)
    # the last frame is wanted when it appears, but not earlier than a step before its end
    latest = min(end, whole - min(stamps.last, (end - begin) / count))
    wanted = np.linspace(begin, max(latest, begin), count)
    shown = np.searchsorted(stamps.seconds, wanted + SAME_SECONDS, side="right") - 1
    return np.maximum(shown, 0).astype(np.int64), count / (end - begin)


def _count_by_time(
    seconds: float, stamps: Stamps, preprocessing: Preprocessing, sizing: Sizing
) -> int:
    depth = preprocessing.temporal_patch
    if sizing.nframes is not None:
        return max(round(sizing.nframes / depth) * depth, 1)
    least, most = _limits(preprocessing, sizing)
    # a clip of a few frames that is over at once is not stretched
    least = min(least, _even(len(stamps.seconds), depth))
    wanted = (seconds + 2 * stamps.tick) * (sizing.fps or preprocessing.video_fps)
    return max(_even(min(max(wanted, least), most), depth), 1)


def _limits(preprocessing: Preprocessing, sizing: Sizing) -> tuple[int, int]:
    """Returns the least and the most frames, whole temporal patches."""
    depth = preprocessing.temporal_patch
    least = sizing.min_frames or preprocessing.video_min_frames
    return -(-least // depth) * depth, _even(
        sizing.max_frames or preprocessing.video_max_frames, depth
    )


def _even(count: float, depth: int) -> int:
    return math.floor(count / depth) * depth


def _slack(period: float, tick: float) -> float:
    """Returns by how many seconds a frame may miss its place: the choice is then the same, or
    the frame beside it.
    """
    return min(LOOSEST_SECONDS, max(period / 2, tick)) * (1 + 1e-6) + 1e-9


def _is_held(stamps: Stamps, period: float) -> bool:
    return stamps.last >= max(HELD_SECONDS, 2 * period + stamps.tick)


def _rounded_rate(period: float, error: float) -> float:
    """Returns the usual rate that a measured period stands for, or else the measured one."""
    for denominator in (1.0, 1.001):
        rate = round(denominator / period) / denominator
        if rate > 0 and abs(1 / rate - period) <= error:
            return rate
    return 1 / period


def _is_by_header(
    frames: Ordinals, stamps: Stamps, preprocessing: Preprocessing, sizing: Sizing
) -> bool:
    if stamps.header_fps is None:
        return True  # the loader has nothing to go by
    try:
        others, _ = _by_number(len(stamps.seconds), stamps.header_fps, preprocessing, sizing)
    except EmptyStretchError:
        return False
    return np.array_equal(frames, others)
