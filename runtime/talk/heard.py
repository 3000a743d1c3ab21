"""Which words of a spoken reply had sounded by a moment.

The Talker reads one text token with each codec token, far ahead of what it says, so the tokens
do not tell when a word sounds. Words are placed by length instead: each takes a share of the
time in which the reply is loud, pauses left out, in proportion to its letters. While speech is
still being made its whole length is unknown; then the pace of the conversation's earlier
replies is taken, or `LETTERS_PER_SECOND` for the first.

A word counts as heard once all of it has sounded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from omnijet.runtime.bundle.contract import Array

HOP = 240
"""Samples of one reading of loudness: a mel frame, 10 ms at 24 kHz."""
QUIET = 10 ** (-35 / 20)
"""A reading below this share of the loudest one counts as a pause."""
LETTERS_PER_SECOND = 14.0
"""About 170 English words a minute."""

_SYLLABLE = r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]"  # one written character
_WORD = re.compile(rf"{_SYLLABLE}\W*|(?:(?!{_SYLLABLE})\S)+\s*|\s+")
_SYLLABLE_LETTERS = 4  # a syllable of Chinese, Japanese or Korean takes as long as so many letters
_DIGIT_LETTERS = 4  # "7" is said "seven"


@dataclass(slots=True)
class Playback:
    """How much of a reply's sound reached the listener.

    Attributes:
        taken: samples that the reader has taken.
        played: samples that were played, if somebody said so.
    """

    taken: int = 0
    played: int | None = None

    @property
    def heard(self) -> int:
        """Samples that count as heard: what was played, or all that was taken."""
        return self.taken if self.played is None else self.played


def loudness_of(samples: Array) -> Array:
    """Returns the root mean square of each 10 ms: f32[samples // 240]."""
    whole = samples[: samples.size // HOP * HOP].reshape(-1, HOP)
    loudness: Array = np.sqrt(np.mean(np.square(whole), axis=1))
    return loudness


@dataclass(frozen=True, slots=True)
class SpokenReply:
    """A reply and the sound that was made of it so far.

    Attributes:
        text: what was written to be spoken.
        loudness: f32[n] of `loudness_of`, from the first sample on.
        is_finished: whether all speech of the text was made.
        unspoken: what was written behind it and is kept, whatever was heard.
    """

    text: str
    loudness: Array
    is_finished: bool
    unspoken: str = ""

    @property
    def letters_per_second(self) -> float | None:
        """The pace of a finished reply; None if it says nothing about it."""
        loud = int(self._is_loud().sum())
        if not self.is_finished or not loud or not self.text.strip():
            return None
        return sum(_lengths(self.text)) / (loud * HOP / 24_000)

    def heard_by(self, samples: int, letters_per_second: float | None = None) -> str:
        """Returns the text that had sounded when so many samples were played, and what is kept.

        Args:
            samples: at 24 kHz, from the beginning of the reply.
            letters_per_second: the speaker's pace, for a reply that is not finished.
        """
        heard = self._heard_by(samples, letters_per_second)
        is_cut = heard != self.text and heard and self.unspoken
        return f"{heard}\n{self.unspoken}" if is_cut else heard + self.unspoken

    def _heard_by(self, samples: int, letters_per_second: float | None) -> str:
        is_loud = self._is_loud()
        done, total = int(is_loud[: samples // HOP].sum()), int(is_loud.sum())
        lengths = _lengths(self.text)
        if not self.is_finished:
            pace = letters_per_second or LETTERS_PER_SECOND
            total = max(total, round(sum(lengths) / pace * 24_000 / HOP))
        elif done == total:
            return self.text
        if not done or not lengths:
            return ""
        ends = np.cumsum(lengths) / sum(lengths)
        count = int(np.searchsorted(ends, done / total + 1e-9, side="right"))
        return "".join(_words(self.text)[:count]).rstrip()

    def _is_loud(self) -> Array:
        loudness = self.loudness
        if not loudness.size:
            return np.zeros(0, bool)
        found: Array = loudness > QUIET * loudness.max()
        return found


def _words(text: str) -> Sequence[str]:
    return _WORD.findall(text)


def _lengths(text: str) -> list[float]:
    """How long each word of a text takes, in letters."""
    return [max(_length(word), 1.0) for word in _words(text)]


def _length(word: str) -> float:
    letters = 1.0  # between two words
    for letter in word:
        if letter.isdigit():
            letters += _DIGIT_LETTERS
        elif ord(letter) >= 0x3040 and letter.isalpha():
            letters += _SYLLABLE_LETTERS
        elif letter.isalnum():
            letters += 1
    return letters
