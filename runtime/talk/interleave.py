"""Thinker and Talker take turns: the Talker asks for text only when it needs some."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.model.thinker import TextStep

Speak = Callable[[int, Array, Iterator[Array]], Iterator[int]]
"""Codec tokens from the first text token, its reply row, and the rows that follow, of which one
is read after each code."""


class Audible(Protocol):
    """Which tokens of a text that is being written are spoken."""

    spoken: int
    """How many, from the first, are certain to be."""

    @property
    def is_silent(self) -> bool:
        """Whether no more than these are."""


def interleave(
    text: Iterator[TextStep], speak: Speak | None, audible: Audible | None = None
) -> Iterator[TextStep | int]:
    """Yields text steps and codec tokens (ints) in the order in which they are made.

    The Talker starts as soon as the first text token was fed. Before each further code it waits
    for one more text token, so it never reads a pad mark while the Thinker still writes. Text that
    is longer than the speech follows at the end. A reply of a single token is not spoken.

    Args:
        audible: what is spoken of the text, if not all is: the Talker reads a row only when that
            is certain, and the text that is not spoken goes on beside the codes. Its numbers
            change as `text` is read.
    """
    steps = _Steps(text, audible)
    yield from steps.until_row()
    if speak is not None and steps.has_row:
        for code in speak(steps.first, next(steps.rows()), steps.rows()):
            yield code
            yield from steps.until_row()
    yield from text


class _Steps:
    """The text, and the rows of it that wait for the Talker.

    Attributes:
        first: the first token; -1 before it comes.
    """

    def __init__(self, text: Iterator[TextStep], audible: Audible | None) -> None:
        self._text, self._audible = text, audible
        self._waiting: deque[Array] = deque()
        self._read = 0  # rows that the Talker has read: those of as many tokens
        self.first = -1

    @property
    def has_row(self) -> bool:
        """Whether there is a row that the Talker may read."""
        is_spoken = self._audible is None or self._read < self._audible.spoken
        return bool(self._waiting) and is_spoken

    def until_row(self) -> Iterator[TextStep]:
        """Yields text until there is a row to read; if there will be none, one step."""
        while not self.has_row:
            step = next(self._text, None)
            if step is None:
                return
            if self.first < 0:
                self.first = step.token
            if step.reply_row is not None:
                self._waiting.append(step.reply_row)
            yield step
            if self._audible is not None and self._audible.is_silent:
                return

    def rows(self) -> Iterator[Array]:
        """Yields the rows that may be read now."""
        while self.has_row:
            self._read += 1
            yield self._waiting.popleft()
