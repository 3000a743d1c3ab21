"""When the frames of a clip are shown, from timestamps as containers have them.

Timestamps come in the order of decoding, may be missing, start anywhere, and jump where pieces
were joined or bytes are damaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Seconds = npt.NDArray[np.float64]

UNKNOWN_SECONDS = 0.5  # at most, that a last frame stays if it does not say how long
LONGEST_STILL = 3600.0  # seconds; a longer gap is a fault of the timestamps
LARGEST_STEP_BACK = 1.0  # seconds; a longer one begins a new piece


class Mark(NamedTuple):
    """What a packet or frame says of its time, in seconds; None where it says nothing.

    Attributes:
        shown: when it is on display.
        order: never falls from one packet to the next within a piece.
        lasts: how long it is on display; 0 if unknown.
    """

    shown: float | None
    order: float | None
    lasts: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Stamps:
    """When the frames of a clip are shown.

    Attributes:
        seconds: f64[frames] in the order of display, never falling; the first is 0.
        last: seconds that the last frame stays.
        tick: seconds that timestamps are rounded to.
        header_fps: frames per second that the header announces; None if it does not.
        origin: the timestamp of the first frame, in seconds.
    """

    seconds: Seconds
    last: float
    tick: float
    header_fps: float | None
    origin: float = 0.0

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the end of the last."""
        return float(self.seconds[-1]) + self.last


def stamps_of(marks: Sequence[Mark], tick: float, header_fps: float | None) -> Stamps:
    """Puts frames in the order of display.

    Args:
        marks: one or more, in the order of decoding or of display.

    Raises:
        ValueError: there are neither timestamps nor a rate.
    """
    filled = _filled(marks, header_fps)
    if filled is None:
        if header_fps is None:
            raise ValueError("its frame rate is unknown")
        numbers = np.arange(len(marks)) / header_fps
        return Stamps(numbers, 1 / header_fps, tick, header_fps)
    pieces = [np.sort(np.array(piece)) for piece in _pieces(marks, filled)]
    gaps = np.concatenate([np.diff(piece) for piece in pieces])
    usual = [gap for gap in gaps if 0 < gap <= LONGEST_STILL]
    period = float(np.median(usual)) if usual else 1 / (header_fps or 2.0)
    seconds = _joined(pieces, period)
    last = _last_of(marks, filled)
    if last <= 2 * tick:  # unknown, or derived from a header's rate that is a clock's
        last = max(last, min(period, UNKNOWN_SECONDS))
    return Stamps(seconds, last, tick, header_fps, float(pieces[0][0]))


def _filled(marks: Sequence[Mark], header_fps: float | None) -> list[float] | None:
    """Returns a time for every mark; None if fewer than half have one."""
    known = [mark.shown if mark.shown is not None else mark.order for mark in marks]
    found = [time for time in known if time is not None]
    if 2 * len(found) <= len(known):
        return None
    step = 1 / header_fps if header_fps else 0.0
    filled: list[float] = []
    for time in known:
        if time is None:
            time = filled[-1] + step if filled else found[0]
        filled.append(time)
    return filled


def _pieces(marks: Sequence[Mark], filled: list[float]) -> list[list[float]]:
    """Splits times where a new piece begins."""
    pieces = [[filled[0]]]
    for (before, after), time in zip(pairwise(marks), filled[1:], strict=True):
        falls = (
            before.order is not None
            and after.order is not None
            and after.order < before.order - LARGEST_STEP_BACK
        )
        if falls:
            pieces.append([])
        pieces[-1].append(time)
    return pieces


def _joined(pieces: list[Seconds], period: float) -> Seconds:
    """Lays the pieces one after the other, from 0 on, and closes gaps that cannot be."""
    gaps = np.concatenate(
        [[0.0], *(np.append(np.diff(piece), period) for piece in pieces)]
    )[:-1]  # fmt: skip
    if len(pieces) == 1 and gaps.max() <= LONGEST_STILL:
        exact: Seconds = pieces[0] - pieces[0][0]
        return exact
    joined: Seconds = np.cumsum(np.where(gaps > LONGEST_STILL, period, gaps))
    return joined


def _last_of(marks: Sequence[Mark], filled: list[float]) -> float:
    lasts = marks[int(np.argmax(filled))].lasts
    return lasts if 0 < lasts <= LONGEST_STILL else 0.0
