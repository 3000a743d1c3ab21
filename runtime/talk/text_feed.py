"""Tokens that come one by one become text."""

from __future__ import annotations

from collections.abc import Sequence

from omnijet.runtime.prompt.markers import Scanner
from omnijet.runtime.prompt.tokenizer import Tokenizer
from omnijet.runtime.talk.characters import Characters
from omnijet.runtime.talk.reply import TextDelta


class TextFeed:
    """Passes text on as soon as it can no longer change.

    The first bytes of a character wait for the others, and what may begin a stop string for what
    shows that it does not. All deltas together are the text of all tokens decoded at once, up to
    the stop string.

    Args:
        stop: strings that the text ends before.
        kept: special tokens that are text.
    """

    def __init__(
        self, tokenizer: Tokenizer, stop: Sequence[str] = (), kept: frozenset[int] = frozenset()
    ) -> None:
        self._characters, self._stop = Characters(tokenizer, kept), Scanner(stop)
        self._waiting = ""  # characters that were not passed on
        self._sent = 0  # characters that were
        self._ids: list[int] = []  # tokens since the last delta

    def push(self, token: int) -> TextDelta | None:
        """Adds a token; returns the text that is certain now, if there is any."""
        self._ids.append(token)
        self._read(self._characters.push(token))
        text = self._taken(self._stop.certain)
        return self._delta(text) if text else None

    def rest(self) -> TextDelta | None:
        """Returns the text that still waits at the end."""
        self._read(self._characters.rest())
        is_stopped = self._stop.begin is not None
        text = self._taken(self._stop.certain if is_stopped else self._stop.length)
        return self._delta(text) if text or self._ids else None

    def _read(self, text: str) -> None:
        self._waiting += text
        self._stop.push(text)

    def _taken(self, until: int) -> str:
        """Takes the waiting characters before one of the whole text."""
        count = max(until - self._sent, 0)
        text, self._waiting = self._waiting[:count], self._waiting[count:]
        self._sent += len(text)
        return text

    def _delta(self, text: str) -> TextDelta:
        delta = TextDelta(text, tuple(self._ids))
        self._ids = []
        return delta
