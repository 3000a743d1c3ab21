"""TMRoPE gives every token of a prompt a position in time, height and width.

This module is the twin of the reference's function: it finds the layout of ids that other code
expanded. Our own prompts know their layout (`omnijet.runtime.prompt.layout`). Source: the
Qwen2.5-Omni report, section 2.2 (arXiv 2503.20215), and `get_rope_index` of transformers
4.57.6, whose results are reproduced exactly for well-formed prompts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from omnijet.runtime.bundle.dims import TokenIds, audio_token_count
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.prompt.places import (
    IntArray,
    MediumShape,
    Placement,
    place_markers,
    place_text,
)

QWEN_TOKEN_IDS = TokenIds(
    audio=151646,
    image=151655,
    video=151656,
    audio_bos=151647,
    audio_eos=151648,
    vision_bos=151652,
    vision_eos=151653,
    pad=151643,
    eos=(151645, 151643),
    tts_pad=151859,
    tts_bos=151860,
    tts_eos=151861,
    position_ids_per_second=25,
    seconds_per_chunk=2,
)


def tmrope_positions(
    input_ids: npt.ArrayLike,
    attention_mask: npt.ArrayLike | None = None,
    image_grid_thw: npt.ArrayLike | None = None,
    video_grid_thw: npt.ArrayLike | None = None,
    audio_seqlens: npt.ArrayLike | None = None,
    second_per_grids: npt.ArrayLike | None = None,
    use_audio_in_video: bool = False,
    token_ids: TokenIds | None = None,
    *,
    spatial_merge: int = 2,
) -> tuple[IntArray, IntArray]:
    """Returns positions of a batch of prompts, and what decoding adds to the row count.

    Images, clips and sounds are taken in prompt order, counted across the whole batch.
    A clip whose markers hold no audio_bos is placed as a silent one even under
    `use_audio_in_video`, so both kinds may share a conversation.

    Threads: any thread may call it.

    Args:
        input_ids: i64[B, L], placeholders already repeated to their full number.
        attention_mask: [B, L], 1 where a token is real; None: all are.
        image_grid_thw: [images, 3], in patches.
        video_grid_thw: [clips, 3], in patches.
        audio_seqlens: [sounds], in mel frames, those of clips included.
        second_per_grids: [clips], seconds per temporal step of the grid.
        use_audio_in_video: clips carry their sound between their own markers.
        token_ids: special ids; None: those of Qwen2.5-Omni.
        spatial_merge: patches per side of a merged cell.

    Returns:
        positions i64[3, B, L] (time, height, width; 1 at pads) and deltas i64[B, 1].

    Raises:
        OmnijetError: placeholders and media do not match each other.
    """
    tokens = QWEN_TOKEN_IDS if token_ids is None else token_ids
    ids = np.asarray(input_ids, dtype=np.int64)
    if ids.ndim != 2 or not ids.size:
        raise OmnijetError("input_ids are unusable", expected="[B, L]", got=str(list(ids.shape)))
    keep = np.ones(ids.shape, bool) if attention_mask is None else np.asarray(attention_mask) == 1
    if keep.shape != ids.shape:
        raise OmnijetError(
            "the attention mask does not fit the ids",
            expected=str(list(ids.shape)),
            got=str(list(keep.shape)),
        )
    media = _Media(
        images=_Queue("image", "image_grid_thw", image_grid_thw),
        clips=_Queue("video", "video_grid_thw", video_grid_thw),
        sounds=_Queue("audio", "audio_seqlens", audio_seqlens),
        seconds=_Queue("video", "second_per_grids", second_per_grids),
        merge=spatial_merge,
        with_sound=use_audio_in_video,
        tokens=tokens,
    )
    if image_grid_thw is None and video_grid_thw is None:
        _check_flat(ids, keep, media)
        return _flat_positions(keep)

    positions = np.ones((3, *ids.shape), np.int64)
    deltas = np.empty((len(ids), 1), np.int64)
    for row, kept in enumerate(keep):
        laid_out = _row_positions(ids[row, kept], media, row)
        positions[:, row, kept] = laid_out
        deltas[row] = laid_out.max() + 1 - laid_out.shape[1]
    media.check_used_up()
    return positions, deltas


class _Queue:
    """One argument's values, taken in prompt order."""

    def __init__(self, noun: str, option: str, values: npt.ArrayLike | None) -> None:
        self.noun = noun
        self.option = option
        self.values = None if values is None else np.asarray(values)
        self.taken = 0

    @property
    def left(self) -> int:
        return 0 if self.values is None else len(self.values) - self.taken

    def take(self, where: str) -> Any:
        if not self.left:
            raise OmnijetError(
                f"the prompt holds {self.noun} {self.taken + 1}, but {self.option} does not",
                where=where,
                expected=f"{self.option} with an entry for every {self.noun} of the prompt",
                got="none" if self.values is None else f"{len(self.values)} entries",
                fix="pass the input's features along, or remove its placeholders",
            )
        assert self.values is not None
        self.taken += 1
        return self.values[self.taken - 1]


@dataclass(frozen=True, slots=True)
class _Item:
    """One input between its markers, as the prompt should spell it."""

    noun: str
    shape: MediumShape
    tokens: TokenIds

    @property
    def opening(self) -> tuple[int, ...]:
        return self.shape.opening(self.tokens)

    @property
    def closing(self) -> tuple[int, ...]:
        return self.shape.closing(self.tokens)

    @property
    def counts(self) -> dict[int, int]:
        return self.shape.counts(self.tokens)

    @property
    def length(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class _Media:
    """The inputs of a whole batch: rows consume them one after another."""

    images: _Queue
    clips: _Queue
    sounds: _Queue
    seconds: _Queue
    merge: int
    with_sound: bool
    tokens: TokenIds

    def next_item(self, ids: IntArray, at: int, where: str) -> _Item:
        """Returns the input whose first placeholder is `ids[at]`."""
        tokens = self.tokens
        if ids[at] == tokens.audio:
            return self._sound(where)
        if ids[at] == tokens.image:
            return self._image(where)
        if at == 0 or ids[at - 1] != tokens.audio_bos:
            return self._silent_clip(where)
        if not self.with_sound:
            raise OmnijetError(
                "a video carries its sound between its markers, unasked for",
                where=where,
                expected="vision_bos before the first video placeholder",
                got="audio_bos",
                fix="pass use_audio_in_video=True",
            )
        return self._clip(where)

    def check_used_up(self) -> None:
        for queue in (self.images, self.clips, self.sounds):
            if queue.left:
                raise OmnijetError(
                    f"{queue.option} has more entries than the prompt has {queue.noun} inputs",
                    where=queue.option,
                    expected=queue.taken,
                    got=queue.taken + queue.left,
                    fix="put its placeholders into the prompt, or drop the entry",
                )

    def _sound(self, where: str) -> _Item:
        shape = MediumShape(sound_tokens=self._audio_tokens(where))
        return _Item(f"audio {self.sounds.taken}", shape, self.tokens)

    def _image(self, where: str) -> _Item:
        shape = MediumShape(self._cells(self.images, where))
        return _Item(f"image {self.images.taken}", shape, self.tokens)

    def _silent_clip(self, where: str) -> _Item:
        shape = MediumShape(self._cells(self.clips, where), float(self.seconds.take(where)))
        return _Item(f"video {self.clips.taken}", shape, self.tokens)

    def _clip(self, where: str) -> _Item:
        cells, seconds = self._cells(self.clips, where), float(self.seconds.take(where))
        shape = MediumShape(cells, seconds, self._audio_tokens(where))
        return _Item(f"video {self.clips.taken} with sound", shape, self.tokens)

    def _cells(self, queue: _Queue, where: str) -> tuple[int, int, int]:
        frames, height, width = (int(side) for side in queue.take(where))
        rows, columns = height // self.merge, width // self.merge
        if frames < 1 or rows < 1 or columns < 1:
            raise OmnijetError(
                f"the grid of {queue.noun} {queue.taken} is empty",
                where=f"{queue.option}[{queue.taken - 1}]",
                expected=f"(t, h, w) of at least (1, {self.merge}, {self.merge})",
                got=(frames, height, width),
            )
        return frames, rows, columns

    def _audio_tokens(self, where: str) -> int:
        mel_frames = int(self.sounds.take(where))
        count = audio_token_count(mel_frames)
        if count < 1:
            raise OmnijetError(
                f"audio {self.sounds.taken} is too short for a single token",
                where=f"audio_seqlens[{self.sounds.taken - 1}]",
                expected="3 mel frames or more",
                got=mel_frames,
            )
        return count


def _row_positions(ids: IntArray, media: _Media, row: int) -> IntArray:
    """Returns positions i64[3, tokens] of one row without its pads."""
    if not len(ids):
        raise OmnijetError("a prompt is empty", where=f"row {row}", expected="1 token or more")
    tokens = media.tokens
    places = np.flatnonzero((ids == tokens.audio) | (ids == tokens.image) | (ids == tokens.video))
    placed: list[Placement] = []
    start = done = seen = 0

    def append(placement: Placement) -> int:
        placed.append(placement)
        return placement.following

    while seen < len(places):
        at = int(places[seen])
        item = media.next_item(ids, at, f"row {row}, token {at}")
        text = at - len(item.opening) - done
        _check_spelling(ids, at, text, item, row)
        if text:
            start = append(place_text(start, text))
        start = append(place_markers(start, len(item.opening)))
        start = append(item.shape.place(start, tokens))
        start = append(place_markers(start, len(item.closing)))
        done = at + item.length + len(item.closing)
        seen += item.length
    if done < len(ids):
        append(place_text(start, len(ids) - done))
    return np.concatenate([placement.positions for placement in placed], axis=1)


def _check_spelling(ids: IntArray, at: int, text: int, item: _Item, row: int) -> None:
    """Refuses an input whose markers or placeholders are not complete in the prompt."""
    end = at + item.length
    opening = tuple(ids[max(at - len(item.opening), 0) : at].tolist())
    if text < 0 or opening != item.opening:
        raise OmnijetError(
            f"the placeholders of {item.noun} do not follow their begin marker",
            where=f"row {row}, token {at}",
            expected=f"ids {item.opening} before them",
            got=opening,
        )
    closing = tuple(ids[end : end + len(item.closing)].tolist())
    body = ids[at:end]
    found = {token: int(np.count_nonzero(body == token)) for token in item.counts}
    if found != item.counts or closing != item.closing:
        stop = at + int(np.argmin(np.append(np.isin(ids[at:], list(item.counts)), False)))
        raise OmnijetError(
            f"{item.noun} has the wrong number of placeholders, or no end marker after them",
            where=f"row {row}, tokens {at} to {stop - 1}",
            expected=f"{_spelled(item.counts)}, then ids {item.closing}",
            got=_spelled({t: int(np.count_nonzero(ids[at:stop] == t)) for t in item.counts})
            + f", then ids {tuple(ids[stop : stop + len(item.closing)].tolist())}",
        )


def _spelled(counts: dict[int, int]) -> str:
    return " and ".join(f"{count} x {token}" for token, count in counts.items())


def _flat_positions(keep: npt.NDArray[np.bool_]) -> tuple[IntArray, IntArray]:
    """Returns positions of prompts without pictures, where sound advances like text."""
    line = np.where(keep, keep.cumsum(axis=1) - 1, 1).astype(np.int64)
    deltas = line.max(axis=1, keepdims=True) + 1 - keep.sum(axis=1, keepdims=True)
    return np.repeat(line[None], 3, axis=0), deltas.astype(np.int64)


def _check_flat(ids: IntArray, keep: npt.NDArray[np.bool_], media: _Media) -> None:
    """Refuses picture placeholders without grids, and a wrong number of sound placeholders."""
    tokens = media.tokens
    for queue, placeholder in ((media.images, tokens.image), (media.clips, tokens.video)):
        places = np.argwhere((ids == placeholder) & keep)
        if len(places):
            row, at = places[0].tolist()
            queue.take(f"row {row}, token {at}")
    if media.sounds.values is None:
        return
    expected = sum(audio_token_count(int(frames)) for frames in media.sounds.values)
    got = int(np.count_nonzero((ids == tokens.audio) & keep))
    if got != expected:
        raise OmnijetError(
            "the audio placeholders do not fit audio_seqlens",
            where="input_ids",
            expected=f"{expected} x {tokens.audio}",
            got=got,
        )
