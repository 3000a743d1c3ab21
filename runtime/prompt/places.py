"""Stretches of a prompt with their TMRoPE positions: text, markers, pictures, clips.

Each builder places one segment from a start position; `omnijet.runtime.prompt.tmrope` strings them
together. Source: the Qwen2.5-Omni report, section 2.2, and `get_rope_index` of
transformers 4.57.6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
Times = npt.NDArray[Any]  # ascending from 0, in time ids, whole or not


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of tokens that was given positions.

    `following` is one past the largest position *of its last part*, which is where the
    next segment starts. For a clip with sound that is its last chunk, and an earlier
    chunk may reach further.
    """

    positions: IntArray  # [3, tokens]
    following: int


def text_segment(start: int, length: int) -> Segment:
    """Text or sound: one step per token on every axis."""
    line = np.arange(start, start + length, dtype=np.int64)
    return Segment(np.broadcast_to(line, (3, length)), start + length)


def marker_segment(start: int, count: int) -> Segment:
    """Begin or end markers. The two of a clip with sound share one position."""
    return Segment(np.full((3, count), start, np.int64), start + 1)


def vision_segment(start: int, times: IntArray, rows: int, columns: int) -> Segment:
    """A picture or silent clip: `times` i64[frames], each over rows x columns cells."""
    box = np.empty((3, len(times), rows, columns), np.int64)
    box[0] = (times + start)[:, None, None]
    box[1] = np.arange(start, start + rows)[:, None]
    box[2] = np.arange(start, start + columns)
    furthest = max(int(times.max()), rows - 1, columns - 1)
    return Segment(box.reshape(3, -1), start + furthest + 1)


def clip_segment(
    start: int, times: IntArray, rows: int, columns: int, audio_tokens: int, chunk: int
) -> Segment:
    """A clip with sound: picture and sound start together, then alternate by `chunk` ids."""
    picture = vision_segment(start, times, rows, columns).positions
    sound = text_segment(start, audio_tokens).positions
    order, part = _interleave(np.repeat(times, rows * columns), audio_tokens, chunk)
    positions = np.concatenate([picture, sound], axis=1)[:, order]
    last = positions[:, part == part[-1]]
    return Segment(positions, int(last.max()) + 1)


def frame_times(frames: int, seconds_per_grid: float, ids_per_second: int) -> IntArray:
    """Time ids i64[frames] of a clip's temporal steps, truncated.

    In float32 step by step, as upstream: 0.28 s x 25 would land on other ids in float64.
    """
    seconds = np.arange(frames, dtype=np.float32) * np.float32(seconds_per_grid)
    return (seconds * np.float32(ids_per_second)).astype(np.int64)


def clip_layout(
    times: Times,
    cells: int,
    audio_tokens: int,
    chunk: int,
) -> npt.NDArray[np.bool_]:
    """How the placeholders of a clip with sound alternate: True where a token is sound.

    Args:
        times: [frames], in time ids (fractions are fine: only chunk borders count).
        cells: merged cells per frame.
        audio_tokens: tokens of the sound.
        chunk: time ids per chunk (50 = 2 s).

    Returns:
        bool[frames * cells + audio_tokens]
    """
    order, _ = _interleave(np.repeat(times, cells), audio_tokens, chunk)
    return order >= len(times) * cells


def _interleave(times: Times, audio_tokens: int, chunk: int) -> tuple[IntArray, IntArray]:
    """Order of [picture tokens, sound tokens] in the prompt, and the part each falls in.

    Parts are picture 0, sound 0, picture 1, sound 1, ...; i64[tokens] each.
    """
    sound_times = np.arange(audio_tokens, dtype=np.int64)
    parts = np.concatenate([2 * _chunks(times, chunk), 2 * _chunks(sound_times, chunk) + 1])
    order = np.argsort(parts, kind="stable")
    return order, parts[order]


def _chunks(times: Times, chunk: int) -> IntArray:
    """The chunk of each token, from ascending times that begin at 0.

    A token that reaches the next border closes the open chunk, but only that one: a jump
    over several borders closes one chunk per token from there on. So border c is crossed
    at the first token at or after c * chunk, yet at least one token after border c - 1.
    """
    borders = np.arange(1, int(times[-1]) // chunk + 1)
    starts = np.maximum.accumulate(np.searchsorted(times, borders * chunk) - borders) + borders
    return np.searchsorted(starts, np.arange(len(times)), side="right").astype(np.int64)
