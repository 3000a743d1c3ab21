"""Tokens that come one by one become text."""

from __future__ import annotations

from omnijet.runtime.prompt.tokenizer import Tokenizer
from omnijet.runtime.talk.reply import TextDelta

UNFINISHED = "\ufffd"  # what the first bytes of a character decode to


class TextFeed:
    """Passes text on as soon as it can no longer change.

    A character may be spread over several tokens; its first bytes wait for the others. All deltas
    together are the text of all tokens decoded at once.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._open: list[int] = []  # tokens since the last complete character
        self._sent = 0  # characters of the open tokens that were passed on
        self._ids: list[int] = []  # tokens since the last delta

    def push(self, token: int) -> TextDelta | None:
        """Adds a token; returns the text that is certain now, if there is any."""
        self._open.append(token)
        self._ids.append(token)
        text = self._tokenizer.decode(self._open)
        is_whole = not text.endswith(UNFINISHED)
        fresh = text[self._sent : None if is_whole else -1]
        if is_whole:
            self._open, self._sent = [], 0
        else:
            self._sent += len(fresh)
        return self._delta(fresh) if fresh else None

    def rest(self) -> TextDelta | None:
        """Returns the text that still waits at the end."""
        fresh = self._tokenizer.decode(self._open)[self._sent :]
        self._open, self._sent = [], 0
        return self._delta(fresh) if fresh or self._ids else None

    def _delta(self, text: str) -> TextDelta:
        delta = TextDelta(text, tuple(self._ids))
        self._ids = []
        return delta
