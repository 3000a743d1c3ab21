"""The utterances that training hears and imitates, made once from a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from omnijet.nano.world import words
from omnijet.nano.world.bank import Bank, write_bank
from omnijet.nano.world.speech import REPLY_MANNERS, Manner, seen_manner

HEARD, QUESTIONS, REPLIES, LINES = 9000, 700, 2400, 7000


def heard_bank(folder: Path, seed: int = 1) -> Bank:
    """Returns numbers, commands and descriptions in many voices, then spoken questions."""

    def wanted() -> Iterator[tuple[str, Manner]]:
        rng = Random(seed)
        for _ in range(HEARD):
            text = words.training_text(rng, words.utterance)
            yield text, seen_manner(rng)
        for index in range(QUESTIONS):
            question = words.SPOKEN_QUESTIONS[index % len(words.SPOKEN_QUESTIONS)]
            yield question, seen_manner(rng)

    return write_bank(folder / "heard.npz", wanted())


def reply_bank(folder: Path, seed: int = 2) -> Bank:
    """Returns replies in the two reply voices, the same texts in both."""
    return write_bank(folder / "replies.npz", _in_both_voices(REPLIES, words.reply, seed))


def line_bank(folder: Path, seed: int = 3) -> Bank:
    """Returns more lines in the two reply voices for the Talker, mostly words in random order.

    From replies alone the Talker learns which word tends to follow and stops reading its input.
    """

    def line(rng: Random) -> str:
        return words.jumble(rng) if rng.random() < 0.7 else words.reply(rng)

    return write_bank(folder / "lines.npz", _in_both_voices(LINES, line, seed))


def _in_both_voices(
    count: int, make: Callable[[Random], str], seed: int
) -> Iterator[tuple[str, Manner]]:
    rng = Random(seed)
    for _ in range(count // len(REPLY_MANNERS)):
        text = words.training_text(rng, make)
        for manner in REPLY_MANNERS.values():
            yield text, manner
