"""Training examples of the Thinker: conversations as ids, positions and features.

The runtime's own code lays them out.
"""

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
from omnijet.runtime.prompt.layout import lay_out
from omnijet.runtime.prompt.messages import Audio, Image, Message, Text, Video
from omnijet.runtime.prompt.places import MediumShape

IMAGE_GRID, FRAME_GRID = (1, 8, 8), (16, 32)  # patches
MERGE = 2
IGNORED = -100  # label of a position without a loss
_PROMPT = np.zeros(1)  # stands for a medium, which the template only names


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """One conversation with its labels.

    Attributes:
        ids: i64[L].
        positions: i64[3, L].
        labels: i64[L], the next id where the assistant writes, else IGNORED.
        media: Placeholder id -> the features f32[count, width] of all its media.
    """

    ids: Array
    positions: Array
    labels: Array
    media: dict[int, Array]


@dataclass(slots=True)
class ExampleBuilder:
    """Builds training examples from items and encoded media."""

    features: Features
    utterances: dict[str, list[int]]  # text -> indices in the bank
    _media: dict[int, list[Array]] = field(default_factory=dict)

    def example(self, item: Item, rng: Random, system: str | None) -> TrainingExample:
        """Builds an example with random media; the template adds its own system prompt for None."""
        tokens = model_dims().tokens
        self._media = {tokens.audio: [], tokens.image: [], tokens.video: []}
        shapes: list[MediumShape] = []
        messages = [] if system is None else [Message("system", (Text(system),))]
        for parts, answer in item.turns:
            shown = []
            for part in parts:
                medium, shape = self._put(part, rng)
                shown.append(medium)
                if shape is not None:
                    shapes.append(shape)
            messages += [Message("user", tuple(shown)), Message("assistant", (Text(answer),))]
        text = render_chat(messages, DEFAULT_CHAT_TEMPLATE).removesuffix("<|im_start|>assistant\n")
        segments = lay_out(tokenizer().encode(text.rstrip("\n")), shapes, tokens)
        ids = np.concatenate([segment.ids for segment in segments])
        positions = np.concatenate([segment.positions for segment in segments], axis=1)
        media = {key: np.concatenate(rows) for key, rows in self._media.items() if rows}
        return TrainingExample(ids, positions, _labels(ids), media)

    def _put(
        self, part: Part, rng: Random
    ) -> tuple[Text | Audio | Image | Video, MediumShape | None]:
        tokens, made = model_dims().tokens, self.features
        if isinstance(part, str):
            return Text(part), None
        if isinstance(part, Utterance):
            take = TAKES * rng.choice(self.utterances[part.text]) + rng.randrange(TAKES)
            rows = made.takes[take]
            self._media[tokens.audio].append(rows)
            return Audio(_PROMPT), MediumShape(sound_tokens=len(rows))
        if isinstance(part, Picture):
            where = (part.count - 1, COLOURS.index(part.colour), SHAPES.index(part.shape))
            kind = made.pictures[where]
            rows = kind[rng.randrange(len(kind))].astype(np.float32)
            self._media[tokens.image].append(rows)
            return Image(_PROMPT), MediumShape(_cells(IMAGE_GRID))
        return Video(_PROMPT), self._film(part, rng)

    def _film(self, clip: Clip, rng: Random) -> MediumShape:
        tokens, made = model_dims().tokens, self.features
        fits = np.flatnonzero(
            (made.track_seconds == len(clip.scenes)) & (made.beeps == clip.beep_second)
        )
        track = int(fits[rng.randrange(len(fits))])
        heard = made.tracks[track]
        self._media[tokens.audio].append(heard)
        grid = (len(clip.scenes), *FRAME_GRID)
        for colour, shape in clip.scenes:
            kind = made.frames[COLOURS.index(colour), SHAPES.index(shape)]
            self._media[tokens.video].append(kind[rng.randrange(len(kind))].astype(np.float32))
        return MediumShape(_cells(grid), 1.0, len(heard))


def _cells(grid: tuple[int, int, int]) -> tuple[int, int, int]:
    """A grid in merged cells."""
    steps, height, width = grid
    return steps, height // MERGE, width // MERGE


def thin_clip(example: TrainingExample, keep: float, rng: np.random.Generator) -> TrainingExample:
    """Drops picture cells of a clip at random; the others keep their positions."""
    video = model_dims().tokens.video
    cells = example.ids == video
    kept = ~cells | (rng.random(example.ids.size) < keep)
    media = dict(example.media)
    media[video] = media[video][kept[cells]]
    return TrainingExample(
        example.ids[kept], example.positions[:, kept], example.labels[kept], media
    )


def _labels(ids: Array) -> Array:
    """Labels the ids that precede the assistant's words and their end with the next id."""
    labels = np.full(ids.size, IGNORED)
    start, end = (tokenizer().encode(name)[0] for name in ("<|im_start|>", "<|im_end|>"))
    role = tokenizer().encode("assistant\n")
    opened = len(role) + 1
    for at in np.flatnonzero(ids == start):
        if ids[at + 1 : at + opened].tolist() == role:
            stop = at + opened + int(np.argmax(ids[at + opened :] == end))
            labels[at + opened - 1 : stop] = ids[at + opened : stop + 1]
    return labels
