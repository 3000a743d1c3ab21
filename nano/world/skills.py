"""The skills: conversations with one right answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

from PIL import Image

from omnijet.nano.world import words
from omnijet.nano.world.clips import Clip, random_clip
from omnijet.nano.world.pictures import draw_scene


@dataclass(frozen=True, slots=True)
class Utterance:
    """A text that the user speaks."""

    text: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that the user shows."""

    count: int
    colour: str
    shape: str
    seed: int

    @property
    def description(self) -> str:
        return words.scene(self.count, self.colour, self.shape)

    def draw(self) -> Image.Image:
        return draw_scene(self.count, self.colour, self.shape, Random(self.seed))


Part: TypeAlias = str | Utterance | Picture | Clip
"""A part of a message: typed text, speech, a picture or a clip."""


@dataclass(frozen=True, slots=True)
class Item:
    """A conversation whose last answer is the one to give.

    Attributes:
        skill: "hear", "see", "watch" or "converse".
        turns: The parts of each user message with the answer to it.
    """

    skill: str
    turns: tuple[tuple[tuple[Part, ...], str], ...]

    @property
    def answer(self) -> str:
        return self.turns[-1][1]


def hear(rng: Random, text: str) -> Item:
    """Makes an item that repeats spoken text, with or without a typed request."""
    return Item("hear", ((_heard_parts(rng, text), text),))


def see(rng: Random) -> Item:
    """Makes an item that describes a picture or answers a typed or spoken question about it."""
    shown = random_picture(rng)
    if rng.random() < 0.6:
        return Item("see", (((shown, words.SEE), shown.description),))
    question, answer = _question_about(rng, shown)
    return Item("see", (((shown, _typed_or_spoken(rng, question)), answer),))


def watch(rng: Random) -> Item:
    """Makes an item that names the colour shown during the beep of a clip."""
    clip = random_clip(rng)
    return Item("watch", (((clip, words.WATCH), words.watch_answer(clip.answer)),))


def converse(rng: Random, numbers: Sequence[str]) -> Item:
    """Makes an item of two turns; the second asks about the picture or number of the first.

    Args:
        rng: The source of randomness.
        numbers: The strings of digits that can be said.
    """
    if rng.random() < 0.5:
        shown = random_picture(rng)
        question, answer = _question_about(rng, shown)
        first: tuple[tuple[Part, ...], str] = ((shown, words.SEE), shown.description)
    else:
        number = rng.choice(numbers)
        digits = number.split()
        first = (_heard_parts(rng, number), number)
        question, answer = rng.choice(((words.ASK_FIRST, digits[0]), (words.ASK_LAST, digits[-1])))
    return Item("converse", (first, ((_typed_or_spoken(rng, question),), answer)))


def random_picture(rng: Random) -> Picture:
    return Picture(
        rng.randint(1, 4), rng.choice(words.COLOURS), rng.choice(words.SHAPES),
        rng.randrange(1 << 31),
    )  # fmt: skip


def _heard_parts(rng: Random, text: str) -> tuple[Part, ...]:
    return (Utterance(text), words.HEAR) if rng.random() < 0.5 else (Utterance(text),)


def _typed_or_spoken(rng: Random, question: str) -> Part:
    """Types a question twice as often as it speaks it."""
    return Utterance(words.spoken_form(question)) if rng.random() < 1 / 3 else question


def _question_about(rng: Random, shown: Picture) -> tuple[str, str]:
    """Draws a question about a picture, with its answer."""
    guess = shown.colour if rng.random() < 0.5 else rng.choice(words.COLOURS)
    return rng.choice(
        (
            (words.ASK_COUNT, words.COUNTS[shown.count - 1]),
            (words.ASK_COLOUR, shown.colour),
            (words.ASK_SHAPE, shown.shape),
            (words.ask_colour(guess), "yes" if guess == shown.colour else "no"),
        )
    )
