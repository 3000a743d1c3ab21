"""The frames of a clip that are taken, resized one after the other while it is decoded.

One decoded frame is held at a time. Sizes are those of `qwen_omni_utils`
(v2_5/vision_process.py), the loader published with the model.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np
from PIL import Image

from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.clip_times import Mark, Stamps, stamps_of
from omnijet.runtime.media.frame_choice import (
    LOOSEST_SECONDS,
    Choice,
    EmptyStretchError,
    choose,
)
from omnijet.runtime.media.image import Frames, below, fitted_size, resized
from omnijet.runtime.media.sizing import Ceiling, Sizing

Report: TypeAlias = Callable[[int, int], None]
"""Called with the frames that were taken, and how many will be."""

_log = logging.getLogger(__name__)

LEAST_CELLS, MOST_CELLS = 4, 16384  # of `resized_height` x `resized_width`, as the loader has it

MOST_PIXELS = 192_000_000  # of all frames; the loader's own sizes stay below


class Reel(Protocol):
    """A clip that can be read from its start, again and again."""

    @property
    def damage(self) -> dict[str, int]:
        """What went wrong when it was last read, and how often."""

    def stamps(self) -> Stamps:
        """Reads when its frames are shown."""

    def frames(self) -> Iterator[tuple[Mark, Callable[[], Image.Image]]]:
        """Yields its frames as they are shown; a picture is made when it is called for."""


@dataclass(slots=True)
class _Taken:
    """What one reading gave.

    Attributes:
        frames: None if there is none.
        marks: of all frames that were read.
        is_part: whether reading ended where the wanted stretch does.
    """

    frames: Frames | None = None
    marks: list[Mark] = field(default_factory=list)
    is_part: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Sampler:
    """Takes the frames of a clip that the model is to see."""

    preprocessing: Preprocessing
    sizing: Sizing
    where: object
    report: Report | None = None
    ceiling: Ceiling | None = None

    def sample(self, reel: Reel) -> tuple[Frames, float]:
        """Returns the frames, and how many a second they are.

        Raises:
            ValueError: no frame can be read.
            OmnijetError: no frame is wanted, or they cannot be resized.
        """
        stamps = reel.stamps()
        announced = len(stamps.seconds)
        choice = self._choose(stamps)
        taken = self._take(reel, choice, stamps)
        read = len(taken.marks)
        if not read:
            raise ValueError(next(iter(reel.damage), "it has no frame"))
        if read != announced and not taken.is_part:
            # packets and frames may differ in number: choose from the frames that decoding gave
            stamps = stamps_of(taken.marks, stamps.tick, stamps.header_fps)
            before, choice = choice, self._choose(stamps)
            seen = stamps.seconds[np.minimum(before.frames, read - 1)]
            if not np.array_equal(seen, stamps.seconds[choice.frames]):
                taken = self._take(reel, choice, stamps)
        if taken.frames is None:
            raise ValueError("it gives other frames each time that it is read")
        self._tell(reel, announced, read, choice, stamps)
        return taken.frames, choice.fps_sampled

    def size(self, height: int, width: int, count: int) -> tuple[int, int]:
        """Returns the size of each of `count` frames: frames of a long clip are smaller."""
        given, wish = self.preprocessing, self.sizing
        if wish.resized_height is not None and wish.resized_width is not None:
            cell = given.factor**2
            height, width = wish.resized_height, wish.resized_width
            least, most = float(LEAST_CELLS * cell), float(MOST_CELLS * cell)
        else:
            total = wish.total_pixels or given.video_total_pixels
            least = wish.min_pixels or given.video_min_pixels
            shared = total / count * given.temporal_patch
            most = max(min(given.video_max_pixels, shared), int(least * 1.05))
            most = min(wish.max_pixels or most, most)
        made = fitted_size(height, width, given, min(least, most), most, self.where)
        if self.ceiling is not None:
            made = below(made, given, self.ceiling, self.where, count)
        self._require_area(made, count)
        return made

    def _choose(self, stamps: Stamps) -> Choice:
        try:
            return choose(stamps, self.preprocessing, self.sizing)
        except EmptyStretchError:
            start, end = self.sizing.video_start, self.sizing.video_end
            raise OmnijetError(
                "no frame of the clip lies in the stretch that is asked for",
                where=self.where,
                expected=f"video_start and video_end within its {stamps.duration:.2f} s",
                got=f"{start or 0:g} s to {'its end' if end is None else f'{end:g} s'}",
            ) from None

    def _take(self, reel: Reel, choice: Choice, stamps: Stamps) -> _Taken:
        """Reads the clip once: to its end, or to that of the stretch that is wanted."""
        wanted = choice.frames
        taken, done = _Taken(), 0
        for number, (mark, picture) in enumerate(reel.frames()):
            taken.marks.append(mark)
            if done == len(wanted) or wanted[done] != number:
                continue
            image = picture()
            if taken.frames is None:
                size = self.size(image.height, image.width, len(wanted))
                taken.frames = np.empty((len(wanted), *size, 3), np.uint8)
            height, width = taken.frames.shape[1:3]
            shown = np.asarray(resized(image, (height, width)))
            while done < len(wanted) and wanted[done] == number:
                taken.frames[done] = shown
                done += 1
            if self.report is not None:
                self.report(done, len(wanted))
            if done == len(wanted) and self.sizing.video_end is not None:
                taken.is_part = _is_in_place(mark, number, stamps)
                if taken.is_part:
                    return taken
        if taken.frames is not None:
            taken.frames[done:] = taken.frames[done - 1]
        return taken

    def _require_area(self, size: tuple[int, int], count: int) -> None:
        height, width = size
        if count * height * width > MOST_PIXELS:
            raise OmnijetError(
                "the frames of the clip are too many, or too large",
                where=self.where,
                expected=f"at most {MOST_PIXELS:,} pixels in all frames together",
                got=f"{count} frames of {width} x {height} pixels",
                fix="ask for fewer frames (max_frames, fps) or smaller ones (max_pixels)",
            )

    def _tell(self, reel: Reel, announced: int, read: int, choice: Choice, stamps: Stamps) -> None:
        if reel.damage:
            words, times = next(iter(reel.damage.items()))
            _log.warning(
                "%s: the clip is damaged and is seen as far as it goes, %d of %d frames (%s, "
                "%d times)", self.where, read, max(announced, read), words, times,
            )  # fmt: skip
        elif not choice.is_by_header:
            _log.warning(
                "%s: frames are taken by their timestamps (%d in %.2f s), not by the rate of %g "
                "a second that the header announces, as the published loader would",
                self.where, len(stamps.seconds), stamps.duration, stamps.header_fps,
            )  # fmt: skip


def _is_in_place(mark: Mark, number: int, stamps: Stamps) -> bool:
    """Returns whether the frame of that number is the one which its packet announced."""
    if mark.shown is None or number >= len(stamps.seconds):
        return mark.shown is None
    late = mark.shown - stamps.origin - float(stamps.seconds[number])
    return abs(late) <= LOOSEST_SECONDS
