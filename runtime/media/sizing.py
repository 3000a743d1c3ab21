"""What a user asks of the size and the stretch of a picture or clip.

The names are those of the model's published loader (`qwen_omni_utils`), which reads them from a
part of a message.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

Fault = tuple[str, str, object]
"""Name of the value, what was expected, what was found."""


@dataclass(frozen=True, slots=True)
class Sizing:
    """Wishes of one picture or clip. None: as the model has it.

    Attributes:
        min_pixels, max_pixels: area of the picture, or of each frame, after resizing.
        resized_height, resized_width: size to resize to instead, rounded to whole cells; both
            or neither.
        total_pixels: area of all frames together, each of a temporal patch counted.
        nframes: how many frames are taken; instead of `fps`.
        fps: frames taken a second.
        min_frames, max_frames: limits of what `fps` takes.
        video_start, video_end: the stretch of the clip that is read, in seconds.
    """

    min_pixels: int | None = None
    max_pixels: int | None = None
    resized_height: int | None = None
    resized_width: int | None = None
    total_pixels: int | None = None
    nframes: int | None = None
    fps: float | None = None
    min_frames: int | None = None
    max_frames: int | None = None
    video_start: float | None = None
    video_end: float | None = None

    @staticmethod
    def of(given: Mapping[str, Any], faults: list[Fault]) -> Sizing:
        """Reads the wishes among `given`; other keys are not looked at, None counts as absent."""
        values = {name: given[name] for name in ALL_KEYS if given.get(name) is not None}
        before = len(faults)
        for name, value in values.items():
            if name in SECONDS_KEYS:
                if not _is_number(value) or not 0 <= value < math.inf:
                    faults.append((name, "seconds, 0 or more", value))
            elif name == "fps":
                if not _is_number(value) or not 0 < value < math.inf:
                    faults.append((name, "a positive number", value))
            elif not _is_number(value) or value < 1 or value != int(value):
                faults.append((name, "a whole number from 1", value))
        if len(faults) > before:
            return Sizing()
        plain = {
            name: float(value) if name in (*SECONDS_KEYS, "fps") else int(value)
            for name, value in values.items()
        }
        faults += _contradictions(plain)
        return Sizing(**plain) if len(faults) == before else Sizing()  # type: ignore[arg-type]

    def over(self, fallback: Sizing) -> Sizing:
        """Returns these wishes, and those of `fallback` where there is none."""
        mine = {f.name: getattr(self, f.name) for f in fields(self)}
        if self.nframes is not None or self.fps is not None:  # each replaces the other
            fallback = _without(fallback, "nframes", "fps")
        return Sizing(
            **{
                name: getattr(fallback, name) if value is None else value
                for name, value in mine.items()
            }
        )


LARGEST = 1e12
SHARE = 0.7
"""Of the context, for a picture or clip that exceeds it: the rest is for text and the reply."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What the machine takes: larger pictures and clips are made to fit.

    Attributes:
        frame_pixels: area of a picture, or of each frame; None: there is no limit.
        total_pixels: area of all frames together, each of a temporal patch counted once.
        more: how to get more, for messages.
    """

    frame_pixels: int | None
    total_pixels: int
    more: str

    def area(self, count: int, depth: int, share: float = 1.0) -> float:
        """Returns the largest area of each of `count` frames, `depth` to a temporal patch.

        Args:
            share: of the total that they may take.
        """
        shared = self.total_pixels * share * depth / max(count, depth)
        return shared if self.frame_pixels is None else min(shared, self.frame_pixels)


AS_THE_MODEL_HAS_IT = Sizing()
SECONDS_KEYS = ("video_start", "video_end")
PICTURE_KEYS = ("min_pixels", "max_pixels", "resized_height", "resized_width")
ALL_KEYS = tuple(f.name for f in fields(Sizing))


def _contradictions(given: Mapping[str, float]) -> list[Fault]:
    faults: list[Fault] = []
    if ("resized_height" in given) != ("resized_width" in given):
        faults.append(("resized_height", "resized_width beside it", "one of the two"))
    if "nframes" in given and "fps" in given:
        faults.append(("nframes", "either nframes or fps", "both"))
    for low, high in (
        ("min_pixels", "max_pixels"),
        ("min_frames", "max_frames"),
        ("video_start", "video_end"),
    ):
        if low in given and high in given and given[low] > given[high]:
            faults.append((low, f"at most {high} {given[high]:g}", given[low]))
    return faults


def _without(sizing: Sizing, *names: str) -> Sizing:
    kept = {f.name: getattr(sizing, f.name) for f in fields(sizing) if f.name not in names}
    return Sizing(**kept)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    return bool(-LARGEST < value < LARGEST)  # not for NaN
