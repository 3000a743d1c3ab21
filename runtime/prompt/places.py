"""Where the tokens of a medium stand: their ids, markers and TMRoPE positions.

Text and sound advance all three axes together, a picture or clip spans a box of
(time, row, column), and a clip with sound interleaves both on one clock. Source: the
Qwen2.5-Omni report, section 2.2 (arXiv 2503.20215), and `get_rope_index` and
`Qwen2_5OmniProcessor` of transformers 4.57.6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from omnijet.runtime.bundle.dims import TokenIds

IntArray = npt.NDArray[np.int64]
Times = npt.NDArray[Any]  # ascending from 0, in time ids, whole or not


@dataclass(frozen=True, slots=True)
class Placement:
    """Positions of a stretch of tokens.

    Attributes:
        positions: i64[3, tokens].
        following: where the next stretch starts. It is one past the largest position of the
            stretch's last part: of a clip with sound that is its last chunk, and an earlier
            chunk may reach further.
    """

    positions: IntArray
    following: int


@dataclass(frozen=True, slots=True)
class MediumShape:
    """How many tokens a picture, clip or sound takes, and how they lie.

    Attributes:
        grid: temporal steps, rows and columns of merged cells; None for a sound.
        second_per_step: clip time of a temporal step; None for a sound or picture.
        sound_tokens: tokens of a sound, or of what is heard of a clip.
    """

    grid: tuple[int, int, int] | None = None
    second_per_step: float | None = None
    sound_tokens: int = 0

    @property
    def is_heard_clip(self) -> bool:
        """Whether picture and sound alternate."""
        return self.grid is not None and self.sound_tokens > 0

    def placeholder(self, tokens: TokenIds) -> int:
        """The id that the chat template writes once for the whole medium."""
        if self.grid is None:
            return tokens.audio
        return tokens.image if self.second_per_step is None else tokens.video

    def opening(self, tokens: TokenIds) -> tuple[int, ...]:
        """The markers before the placeholders."""
        if self.grid is None:
            return (tokens.audio_bos,)
        if self.is_heard_clip:
            return (tokens.vision_bos, tokens.audio_bos)
        return (tokens.vision_bos,)

    def closing(self, tokens: TokenIds) -> tuple[int, ...]:
        """The markers after the placeholders."""
        if self.grid is None:
            return (tokens.audio_eos,)
        if self.is_heard_clip:
            return (tokens.audio_eos, tokens.vision_eos)
        return (tokens.vision_eos,)

    def counts(self, tokens: TokenIds) -> dict[int, int]:
        """How many placeholders of each id it takes."""
        counts = {}
        if self.grid is not None:
            counts[self.placeholder(tokens)] = math.prod(self.grid)
        if self.sound_tokens:
            counts[tokens.audio] = self.sound_tokens
        return counts

    def ids(self, tokens: TokenIds) -> IntArray:
        """The placeholders between the markers, in their full number: i64[n]."""
        if not self.is_heard_clip:
            ((placeholder, count),) = self.counts(tokens).items()
            return np.full(count, placeholder, np.int64)
        assert self.grid is not None and self.second_per_step is not None
        steps, rows, columns = self.grid
        rate = tokens.position_ids_per_second
        # in double and unrounded, as upstream: positions are rounded, the layout is not
        times = np.arange(steps) * self.second_per_step * rate
        chunk = rate * tokens.seconds_per_chunk
        heard = clip_layout(times, rows * columns, self.sound_tokens, chunk)
        return np.where(heard, tokens.audio, tokens.video).astype(np.int64)

    def place(self, start: int, tokens: TokenIds) -> Placement:
        """Positions of the placeholders from a start position on."""
        if self.grid is None:
            return place_text(start, self.sound_tokens)
        rate = tokens.position_ids_per_second
        steps, rows, columns = self.grid
        seconds = 1.0 if self.second_per_step is None else self.second_per_step
        times = frame_times(steps, seconds, rate)
        if not self.sound_tokens:
            return place_picture(start, times, rows, columns)
        chunk = rate * tokens.seconds_per_chunk
        return place_heard_clip(start, times, rows, columns, self.sound_tokens, chunk)


def place_text(start: int, length: int) -> Placement:
    """Places text or sound: one step per token on every axis."""
    line = np.arange(start, start + length, dtype=np.int64)
    return Placement(np.broadcast_to(line, (3, length)), start + length)


def place_markers(start: int, count: int) -> Placement:
    """Places begin or end markers. The two of a clip with sound share one position."""
    return Placement(np.full((3, count), start, np.int64), start + 1)


def place_picture(start: int, times: IntArray, rows: int, columns: int) -> Placement:
    """Places a picture or silent clip: `times` i64[frames], each over rows x columns cells."""
    box = np.empty((3, len(times), rows, columns), np.int64)
    box[0] = (times + start)[:, None, None]
    box[1] = np.arange(start, start + rows)[:, None]
    box[2] = np.arange(start, start + columns)
    furthest = max(int(times.max()), rows - 1, columns - 1)
    return Placement(box.reshape(3, -1), start + furthest + 1)


def place_heard_clip(
    start: int, times: IntArray, rows: int, columns: int, audio_tokens: int, chunk: int
) -> Placement:
    """Places a clip with sound: both start together, then alternate by `chunk` time ids."""
    picture = place_picture(start, times, rows, columns).positions
    sound = place_text(start, audio_tokens).positions
    order, part = _interleave(np.repeat(times, rows * columns), audio_tokens, chunk)
    positions = np.concatenate([picture, sound], axis=1)[:, order]
    last = positions[:, part == part[-1]]
    return Placement(positions, int(last.max()) + 1)


def frame_times(frames: int, seconds_per_grid: float, ids_per_second: int) -> IntArray:
    """Time ids i64[frames] of a clip's temporal steps, truncated.

    The product is taken in float32 step by step, as upstream: 0.28 s x 25 would land on
    other ids in float64.
    """
    seconds = np.arange(frames, dtype=np.float32) * np.float32(seconds_per_grid)
    return (seconds * np.float32(ids_per_second)).astype(np.int64)


def clip_layout(
    times: Times,
    cells: int,
    audio_tokens: int,
    chunk: int,
) -> npt.NDArray[np.bool_]:
    """Tells how the placeholders of a clip with sound alternate: True where a token is sound.

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
    """Returns the order of [picture tokens, sound tokens] in the prompt, and each token's part.

    Parts are picture 0, sound 0, picture 1, sound 1, ...; i64[tokens] each.
    """
    sound_times = np.arange(audio_tokens, dtype=np.int64)
    parts = np.concatenate([2 * _chunks(times, chunk), 2 * _chunks(sound_times, chunk) + 1])
    order = np.argsort(parts, kind="stable")
    return order, parts[order]


def _chunks(times: Times, chunk: int) -> IntArray:
    """Returns the chunk of each token, from ascending times that begin at 0.

    A token that reaches the next border closes the open chunk, but only that one: a jump
    over several borders closes one chunk per token from there on. So border c is crossed
    at the first token at or after c * chunk, yet at least one token after border c - 1.
    """
    borders = np.arange(1, int(times[-1]) // chunk + 1)
    starts = np.maximum.accumulate(np.searchsorted(times, borders * chunk) - borders) + borders
    return np.searchsorted(starts, np.arange(len(times)), side="right").astype(np.int64)
