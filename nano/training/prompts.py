"""Conversations as the Thinker trains on them: ids, positions and features, laid out by the
runtime's own code."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import numpy as np

from omnijet.nano.training.features import TAKES, Features
from omnijet.nano.training.tokenizer import model_dims, tokenizer
from omnijet.nano.world.clips import Clip
from omnijet.nano.world.skills import Item, Part, Picture, Utterance
from omnijet.nano.world.words import COLOURS, SHAPES
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.prompt.chat import DEFAULT_CHAT_TEMPLATE, render_chat
from omnijet.runtime.prompt.layout import Expansion, expand_placeholders, interleave_clip
from omnijet.runtime.prompt.messages import Audio, Image, Message, Text, Video
from omnijet.runtime.prompt.tmrope import tmrope_positions

IMAGE_GRID, FRAME_GRID = (1, 8, 8), (16, 32)  # patches
MERGE = 2
IGNORED = -100
_PROMPT = np.zeros(1)  # stands for a medium that the template only names


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """A conversation laid out.

    Attributes:
        ids: i64[L].
        positions: i64[3, L].
        labels: i64[L], the next id where an answer is to be written, else -100.
        media: placeholder id -> f32[count, width].
    """

    ids: Array
    positions: Array
    labels: Array
    media: dict[int, Array]


@dataclass(slots=True)
class ExampleBuilder:
    """Lays items out over encoded media."""

    features: Features
    utterances: dict[str, list[int]]  # text -> numbers in the bank
    _media: dict[int, list[Array]] = field(default_factory=dict)

    def example(self, item: Item, rng: Random, system: str | None) -> TrainingExample:
        """`system` None leaves it to the template."""
        tokens = model_dims().tokens
        self._media = {tokens.audio: [], tokens.image: [], tokens.video: []}
        sounds: list[int] = []
        grids: list[tuple[int, int, int]] = []
        images = 0
        expansions: list[Expansion] = []
        messages = [] if system is None else [Message("system", (Text(system),))]
        for parts, answer in item.turns:
            shown = []
            for part in parts:
                medium, expansion = self._put(part, rng, sounds, grids)
                shown.append(medium)
                images += isinstance(part, Picture)
                if expansion is not None:
                    expansions.append(expansion)
            messages += [Message("user", tuple(shown)), Message("assistant", (Text(answer),))]
        text = render_chat(messages, DEFAULT_CHAT_TEMPLATE).removesuffix("<|im_start|>assistant\n")
        ids = expand_placeholders(tokenizer().encode(text.rstrip("\n")), expansions, tokens)
        positions, _ = tmrope_positions(
            ids[None],
            image_grid_thw=[IMAGE_GRID] * images or None,
            video_grid_thw=grids or None,
            audio_seqlens=sounds or None,
            second_per_grids=[1.0] * len(grids) or None,
            use_audio_in_video=bool(grids),
            token_ids=tokens,
        )
        media = {key: np.concatenate(rows) for key, rows in self._media.items() if rows}
        return TrainingExample(ids, positions[:, 0], _labels(ids), media)

    def _put(
        self, part: Part, rng: Random, sounds: list[int], grids: list[tuple[int, int, int]]
    ) -> tuple[Text | Audio | Image | Video, Expansion | None]:
        tokens, made = model_dims().tokens, self.features
        if isinstance(part, str):
            return Text(part), None
        if isinstance(part, Utterance):
            take = TAKES * rng.choice(self.utterances[part.text]) + rng.randrange(TAKES)
            sounds.append(int(made.takes.frames[take]))
            rows = made.takes[take]
            self._media[tokens.audio].append(rows)
            return Audio(_PROMPT), Expansion(tokens.audio, np.full(len(rows), tokens.audio))
        if isinstance(part, Picture):
            where = (part.count - 1, COLOURS.index(part.colour), SHAPES.index(part.shape))
            kind = made.pictures[where]
            rows = kind[rng.randrange(len(kind))].astype(np.float32)
            self._media[tokens.image].append(rows)
            return Image(_PROMPT), Expansion(tokens.image, np.full(len(rows), tokens.image))
        return Video(_PROMPT), Expansion(tokens.video, self._film(part, rng, sounds, grids))

    def _film(
        self, clip: Clip, rng: Random, sounds: list[int], grids: list[tuple[int, int, int]]
    ) -> Array:
        tokens, made = model_dims().tokens, self.features
        fits = np.flatnonzero(
            (made.track_seconds == len(clip.scenes)) & (made.beeps == clip.beep_second)
        )
        track = int(fits[rng.randrange(len(fits))])
        heard = made.tracks[track]
        sounds.append(int(made.tracks.frames[track]))
        self._media[tokens.audio].append(heard)
        grid = (len(clip.scenes), *FRAME_GRID)
        grids.append(grid)
        for colour, shape in clip.scenes:
            kind = made.frames[COLOURS.index(colour), SHAPES.index(shape)]
            self._media[tokens.video].append(kind[rng.randrange(len(kind))].astype(np.float32))
        return interleave_clip(grid, 1.0, len(heard), tokens, MERGE)


def thin_clip(example: TrainingExample, keep: float, rng: np.random.Generator) -> TrainingExample:
    """The same clip with a random part of its picture cells: each where it was."""
    video = model_dims().tokens.video
    cells = example.ids == video
    kept = ~cells | (rng.random(example.ids.size) < keep)
    media = dict(example.media)
    media[video] = media[video][kept[cells]]
    return TrainingExample(
        example.ids[kept], example.positions[:, kept], example.labels[kept], media
    )


def _labels(ids: Array) -> Array:
    """What is to be written after each id: the assistant's words and their end."""
    labels = np.full(ids.size, IGNORED)
    start, end = (tokenizer().encode(mark)[0] for mark in ("<|im_start|>", "<|im_end|>"))
    role = tokenizer().encode("assistant\n")
    opened = len(role) + 1
    for at in np.flatnonzero(ids == start):
        if ids[at + 1 : at + opened].tolist() == role:
            stop = at + opened + int(np.argmax(ids[at + opened :] == end))
            labels[at + opened - 1 : stop] = ids[at + opened : stop + 1]
    return labels
