"""The words of the closed world: all that can be said, asked and answered in it."""

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
"""The labels of sounds other than words in the hearing stage."""


def plural(shape: str, count: int) -> str:
    """Returns the name of a shape in the singular or plural."""
    return shape if count == 1 else f"{shape}s"


def scene(count: int, colour: str, shape: str) -> str:
    """Returns the answer to `SEE`, for example "two red circles"."""
    return f"{COUNTS[count - 1]} {colour} {plural(shape, count)}"


def ask_colour(colour: str) -> str:
    """Returns a question whose answer is yes or no."""
    return f"Is it {colour}?"


def watch_answer(colour: str) -> str:
    """Returns the answer to `WATCH`."""
    return f"it was {colour}"


def spoken_form(question: str) -> str:
    """Returns a question in its spoken form: lower case, without a question mark."""
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
"""Every word that a reply can contain: the recogniser's vocabulary."""

WORDS = tuple(dict.fromkeys((*REPLY_WORDS, *" ".join(SPOKEN_QUESTIONS).split())))
"""Every word that anyone says in this world."""

LONGEST_NUMBER = 5


def number(rng: Random, least: int = 2, most: int = LONGEST_NUMBER) -> str:
    """Draws a string of digits."""
    return " ".join(rng.choice(DIGITS) for _ in range(rng.randint(least, most)))


def command(rng: Random) -> str:
    """Draws a command, such as "go left", "turn right", "go up three" or "stop"."""
    verb = rng.choice((*VERBS[:2] * 4, "stop"))
    if verb == "stop":
        return verb
    words = [verb, rng.choice(DIRECTIONS)]
    if rng.random() < 0.4:
        words.append(rng.choice(DIGITS))
    return " ".join(words)


def random_scene(rng: Random) -> str:
    """Draws the description of a picture."""
    return scene(rng.randint(1, 4), rng.choice(COLOURS), rng.choice(SHAPES))


def utterance(rng: Random) -> str:
    """Draws a text that is heard and repeated."""
    kind = rng.random()
    if kind < 0.55:
        return number(rng)
    return command(rng) if kind < 0.8 else random_scene(rng)


def reply(rng: Random) -> str:
    """Draws a possible answer, which the Talker learns to say."""
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
    """Draws words in random order, which the Talker can say only by reading them."""
    return " ".join(rng.choice(REPLY_WORDS) for _ in range(rng.randint(1, 5)))


def held_out(text: str) -> bool:
    """Whether a text is kept for the held-out set.

    These are a tenth of the texts of three or more words; there are too few shorter texts to
    hold any back.
    """
    return len(text.split()) >= 3 and zlib.crc32(text.encode()) % 10 == 0


def training_text(rng: Random, make: Callable[[Random], str]) -> str:
    """Draws a text that training may use."""
    while held_out(text := make(rng)):
        pass
    return text


def held_out_text(rng: Random, make: Callable[[Random], str]) -> str:
    """Draws a text for the held-out set; texts of one or two words are as frequent as in `make`."""
    text = make(rng)
    short = len(text.split()) < 3
    while not (short or held_out(text)):
        text = make(rng)
    return text
