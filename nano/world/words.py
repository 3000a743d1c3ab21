"""The closed world's words: what can be said, asked and answered in it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from random import Random

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "white")
SHAPES = ("circle", "square", "triangle", "star")
DIRECTIONS = ("left", "right", "up", "down")
VERBS = ("go", "turn", "stop")
COUNTS = ("one", "two", "three", "four")

HEAR = "What do you hear?"
SEE = "What do you see?"
WATCH = "Which colour was shown when the beep came?"
ASK_COUNT, ASK_COLOUR, ASK_SHAPE = "How many?", "Which colour?", "Which shape?"
ASK_FIRST, ASK_LAST = "Which was first?", "Which was last?"

BEEP, KNOCK = "<beep>", "<knock>"
"""Sounds that are no words, spelled for the hearing stage's labels."""


def plural(shape: str, count: int) -> str:
    """As many shapes as that, in words."""
    return shape if count == 1 else f"{shape}s"


def scene(count: int, colour: str, shape: str) -> str:
    """The answer to `SEE`: "two red circles"."""
    return f"{COUNTS[count - 1]} {colour} {plural(shape, count)}"


def ask_colour(colour: str) -> str:
    """A question that is answered by yes or no."""
    return f"Is it {colour}?"


def watch_answer(colour: str) -> str:
    """The answer to `WATCH`."""
    return f"it was {colour}"


def spoken_form(question: str) -> str:
    """A question as it is said: lower case, no marks."""
    return question.rstrip("?").lower()


SPOKEN_QUESTIONS = tuple(
    spoken_form(text)
    for text in (ASK_COUNT, ASK_COLOUR, ASK_SHAPE, ASK_FIRST, ASK_LAST, *map(ask_colour, COLOURS))
)

REPLY_WORDS = tuple(
    dict.fromkeys(
        (
            *DIGITS, *COLOURS, *SHAPES, *(f"{shape}s" for shape in SHAPES), *DIRECTIONS, *VERBS,
            "yes", "no", "it", "was",
        )
    )
)  # fmt: skip
"""Every word a reply can hold: the recogniser's vocabulary."""

WORDS = tuple(dict.fromkeys((*REPLY_WORDS, *" ".join(SPOKEN_QUESTIONS).split())))
"""Every word that is ever said."""

LONGEST_NUMBER = 5


def number(rng: Random, least: int = 2, most: int = LONGEST_NUMBER) -> str:
    """A string of digits."""
    return " ".join(rng.choice(DIGITS) for _ in range(rng.randint(least, most)))


def command(rng: Random) -> str:
    """An order: "go left", "turn right", "go up three", "stop"."""
    verb = rng.choice((*VERBS[:2] * 4, "stop"))
    if verb == "stop":
        return verb
    words = [verb, rng.choice(DIRECTIONS)]
    if rng.random() < 0.4:
        words.append(rng.choice(DIGITS))
    return " ".join(words)


def random_scene(rng: Random) -> str:
    """The description of some picture."""
    return scene(rng.randint(1, 4), rng.choice(COLOURS), rng.choice(SHAPES))


def utterance(rng: Random) -> str:
    """Something to be heard and repeated."""
    kind = rng.random()
    if kind < 0.55:
        return number(rng)
    return command(rng) if kind < 0.8 else random_scene(rng)


def reply(rng: Random) -> str:
    """Something an answer can be: what the Talker learns to say."""
    kind = rng.random()
    if kind < 0.4:
        return number(rng, least=1)
    if kind < 0.55:
        return command(rng)
    if kind < 0.75:
        return random_scene(rng)
    if kind < 0.85:
        return watch_answer(rng.choice(COLOURS))
    return rng.choice((*COLOURS, *SHAPES, *COUNTS, "yes", "no"))


def jumble(rng: Random) -> str:
    """Words in any order: what can only be said by reading it."""
    return " ".join(rng.choice(REPLY_WORDS) for _ in range(rng.randint(1, 5)))


def held_out(text: str) -> bool:
    """Whether a text belongs to the test sets alone: a tenth of those of three words and
    more. Shorter ones are too few to keep any back."""
    return len(text.split()) >= 3 and zlib.crc32(text.encode()) % 10 == 0


def training_text(rng: Random, make: Callable[[Random], str]) -> str:
    """A text that training may say."""
    while held_out(text := make(rng)):
        pass
    return text


def held_out_text(rng: Random, make: Callable[[Random], str]) -> str:
    """A text for the test sets; as many of them are short as `make` makes short."""
    text = make(rng)
    short = len(text.split()) < 3
    while not (short or held_out(text)):
        text = make(rng)
    return text
