"""A conversation laid out once: segments that know their ids, positions and media.

The chat template writes one placeholder per picture, sound or clip; here each is repeated
to as many ids as its encoder makes tokens. A clip that is heard as well alternates
between picture and sound every two seconds of clip time. What the graphs are fed is read
off the segments. Source: `Qwen2_5OmniProcessor` and `get_rope_index` of transformers
4.57.6, whose ids and positions are reproduced exactly for well-formed prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.dims import ModelDims, TokenIds
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.cancel import Check, never
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.clip_frames import Report
from omnijet.runtime.media.sizing import AS_THE_MODEL_HAS_IT, Ceiling, Sizing
from omnijet.runtime.prompt.chat import render_chat
from omnijet.runtime.prompt.medium import EncoderInput, Ids, Medium
from omnijet.runtime.prompt.messages import Message, Text
from omnijet.runtime.prompt.places import MediumShape, Placement, place_markers, place_text
from omnijet.runtime.prompt.preprocess import medium_of
from omnijet.runtime.prompt.tokenizer import SPELLINGS, Tokenizer


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A stretch of a prompt: text, or a medium's placeholders.

    A clip that is heard brings its markers along, which share positions; other markers are
    text.

    Attributes:
        row: of the prompt, where it begins.
        ids: i64[n].
        positions: i64[3, n], TMRoPE.
        following: where the next segment's positions start.
        medium: its number among the prompt's media; None for text.
    """

    row: int
    ids: Ids
    positions: Ids
    following: int
    medium: int | None = None

    def rows_of(self, placeholder: int) -> Ids:
        """Rows of the prompt that hold an id, rising."""
        return self.row + np.flatnonzero(self.ids == placeholder)


class Share(NamedTuple):
    """The rows of a prompt that an encoder's input fills.

    Attributes:
        rows: i64[tokens], rising.
    """

    input: EncoderInput
    rows: Ids


@dataclass(frozen=True, eq=False)
class Prompt:
    """What the model is given.

    Attributes:
        text: the rendered conversation, one placeholder per picture, sound or clip.
        segments: in prompt order.
        media: in prompt order.
        tokens: special ids.
    """

    text: str
    segments: tuple[Segment, ...]
    media: tuple[Medium, ...]
    tokens: TokenIds

    @cached_property
    def input_ids(self) -> Ids:
        """i64[L], placeholders repeated to their full number."""
        return np.concatenate([segment.ids for segment in self.segments])

    @cached_property
    def positions(self) -> Ids:
        """TMRoPE positions i64[3, L]."""
        return np.concatenate([segment.positions for segment in self.segments], axis=1)

    @cached_property
    def delta(self) -> int:
        """What decoding adds to a row's number to get its position."""
        reached: int = self.positions.max() + 1 - self.input_ids.size
        return int(reached)

    def positions_with(self, more: int) -> tuple[Ids, int]:
        """Positions with some tokens of text behind the prompt: i64[3, L + more], their delta."""
        tail = place_text(self.segments[-1].following, more).positions
        positions = np.concatenate([self.positions, tail], axis=1)
        return positions, int(positions.max()) + 1 - positions.shape[1]

    @cached_property
    def shares(self) -> tuple[Share, ...]:
        """What fills which rows, in the order of rows; of a heard clip the picture first."""
        found: list[Share] = []
        for segment in self.segments:
            if segment.medium is None:
                continue
            medium = self.media[segment.medium]
            if medium.seen is not None:
                placeholder = medium.shape.placeholder(self.tokens)
                found.append(Share(medium.seen, segment.rows_of(placeholder)))
            if medium.heard is not None:
                found.append(Share(medium.heard, segment.rows_of(self.tokens.audio)))
        return tuple(found)

    @cached_property
    def is_encoded(self) -> Array:
        """bool[L]: True where an encoder makes the row."""
        found = np.zeros(self.input_ids.size, bool)
        for share in self.shares:
            found[share.rows] = True
        return found

    @cached_property
    def fingerprints(self) -> Ids:
        """i64[L]: what each row is made from. Token ids, and below 0 those of media."""
        found = self.input_ids.copy()
        for share in self.shares:
            found[share.rows] = share.input.fingerprints
        return found

    @property
    def images(self) -> tuple[EncoderInput, ...]:
        """What is seen of pictures, in prompt order."""
        return tuple(
            medium.seen
            for medium in self.media
            if medium.seen is not None and medium.shape.second_per_step is None
        )

    @property
    def videos(self) -> tuple[EncoderInput, ...]:
        """What is seen of clips, in prompt order."""
        return tuple(
            medium.seen
            for medium in self.media
            if medium.seen is not None and medium.shape.second_per_step is not None
        )

    @property
    def sounds(self) -> tuple[EncoderInput, ...]:
        """What is heard, in prompt order; a clip's sound stands where its clip does."""
        return tuple(medium.heard for medium in self.media if medium.heard is not None)

    @property
    def seconds_per_grid(self) -> tuple[float, ...]:
        """Clip time of each clip's temporal step, as the model is told."""
        seconds = (medium.shape.second_per_step for medium in self.media)
        return tuple(second for second in seconds if second is not None)

    @property
    def mel_lengths(self) -> tuple[int, ...]:
        """Mel frames per sound."""
        return tuple(sound.frames for sound in self.sounds)

    @property
    def use_audio_in_video(self) -> bool:
        """Whether any clip is heard; one without sound is only looked at."""
        return any(medium.shape.is_heard_clip for medium in self.media)


def build_prompt(
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    dims: ModelDims,
    preprocessing: Preprocessing,
    *,
    use_audio_in_video: bool,
    chat_template: str,
    check: Check = never,
    report: Report | None = None,
    wishes: Sizing = AS_THE_MODEL_HAS_IT,
    ceiling: Ceiling | None = None,
) -> Prompt:
    """Lays a conversation out; media that were not read before are read.

    Args:
        check: called between the pieces that media are read in; it may raise to cancel.
        report: called with the frames of a clip that were read, and how many will be.
        wishes: about the size of pictures and clips; those of a part itself go before.
        ceiling: what the machine takes; what is larger is made to fit, with a warning.

    Raises:
        OmnijetError: a medium cannot be used, a text spells out a placeholder, or the
            tokenizer is not the model's.
    """
    tokens = dims.tokens
    tokenizer.check(tokens)
    _refuse_placeholders(messages, tokenizer, tokens)
    text = render_chat(messages, chat_template)
    if not text:
        raise OmnijetError(
            "the chat template writes nothing",
            where="chat_template.jinja",
            fix="use the template published with the checkpoint",
        )
    media = tuple(
        medium_of(
            part,
            preprocessing,
            dims.audio,
            use_audio_in_video,
            f"message {number}, part {place}",
            check,
            report,
            wishes,
            ceiling,
        )
        for number, message in enumerate(messages, start=1)
        for place, part in enumerate(message.parts, start=1)
        if not isinstance(part, Text)
    )
    shapes = [medium.shape for medium in media]
    return Prompt(text, lay_out(tokenizer.encode(text), shapes, tokens), media, tokens)


def lay_out(
    ids: Sequence[int], shapes: Sequence[MediumShape], tokens: TokenIds
) -> tuple[Segment, ...]:
    """Puts each medium in the place of its placeholder, and everything in its position.

    Args:
        ids: the encoded conversation, one placeholder per medium.
        shapes: of the media, in prompt order.

    Raises:
        OmnijetError: the placeholders are not those of the media, or a picture's markers are
            not beside it.
    """
    found = np.array(ids, np.int64)
    placeholders = (tokens.audio, tokens.image, tokens.video)
    places = np.flatnonzero(np.isin(found, placeholders))
    _check_placeholders(found[places].tolist(), shapes, tokens)
    must_be_marked = any(shape.grid is not None for shape in shapes)
    segments: list[Segment] = []
    row = start = done = 0

    def append(ids: Ids, placement: Placement, medium: int | None = None) -> None:
        nonlocal row, start
        if ids.size:
            segment = Segment(row, ids, placement.positions, placement.following, medium)
            segments.append(segment)
            row, start = row + ids.size, placement.following

    for number, (place, shape) in enumerate(zip(places.tolist(), shapes, strict=True)):
        if must_be_marked:
            _check_markers(found, place, shape, tokens)
        width = int(shape.is_heard_clip)  # markers that belong to the segment, on each side
        before = found[done : place - width]
        append(before, place_text(start, before.size))
        if shape.is_heard_clip:
            append(*_with_markers(start, shape, tokens), number)
        else:
            append(shape.ids(tokens), shape.place(start, tokens), number)
        done = place + 1 + width
    append(found[done:], place_text(start, found.size - done))
    return tuple(segments)


def _with_markers(start: int, shape: MediumShape, tokens: TokenIds) -> tuple[Ids, Placement]:
    opening, closing = shape.opening(tokens), shape.closing(tokens)
    first = place_markers(start, len(opening))
    body = shape.place(first.following, tokens)
    last = place_markers(body.following, len(closing))
    positions = [first.positions, body.positions, last.positions]
    return (
        np.concatenate([opening, shape.ids(tokens), closing]).astype(np.int64),
        Placement(np.concatenate(positions, axis=1), last.following),
    )


def _check_placeholders(
    found: Sequence[int], shapes: Sequence[MediumShape], tokens: TokenIds
) -> None:
    wanted = [shape.placeholder(tokens) for shape in shapes]
    if found != wanted:
        spelled = {getattr(tokens, name): text for name, text in SPELLINGS.items()}
        raise OmnijetError(
            "the chat template does not write one placeholder per picture, sound and clip",
            where="chat_template.jinja",
            expected=" ".join(spelled[item] for item in wanted) or "none",
            got=" ".join(spelled[item] for item in found) or "none",
            fix="use the template published with the checkpoint",
        )


def _check_markers(ids: Ids, place: int, shape: MediumShape, tokens: TokenIds) -> None:
    """The template writes a medium's outermost markers right beside its placeholder."""
    wanted = (shape.opening(tokens)[0], shape.closing(tokens)[-1])
    beside = (*ids[max(place - 1, 0) : place].tolist(), *ids[place + 1 : place + 2].tolist())
    if beside != wanted:
        spelled = {getattr(tokens, name): text for name, text in SPELLINGS.items()}
        placeholder = spelled[int(ids[place])]
        raise OmnijetError(
            f"the chat template does not write {placeholder} between its markers",
            where="chat_template.jinja",
            expected=f"{spelled[wanted[0]]}{placeholder}{spelled[wanted[1]]}",
            got=f"ids {beside} beside it",
            fix="use the template published with the checkpoint",
        )


def _refuse_placeholders(
    messages: Sequence[Message], tokenizer: Tokenizer, token_ids: TokenIds
) -> None:
    """Refuses a text that spells out a placeholder: it would take another medium's place."""
    names = ("audio", "image", "video")
    faults = []
    for number, message in enumerate(messages, start=1):
        for place, part in enumerate(message.parts, start=1):
            if isinstance(part, Text) and any(SPELLINGS[name] in part.text for name in names):
                ids = set(tokenizer.encode(part.text))
                faults += [
                    f"message {number}, part {place}: {SPELLINGS[name]}"
                    for name in names
                    if getattr(token_ids, name) in ids
                ]
    if faults:
        raise OmnijetError(
            "a text spells out a placeholder of a picture, sound or clip",
            where="messages",
            got="\n            ".join(faults),
            fix="take it out of the text; media are parts of their own",
        )
