"""Text out of tokens that come one by one."""

from __future__ import annotations

from omnijet.runtime.prompt.tokenizer import Tokenizer
from omnijet.runtime.talk.reply import TextDelta

UNFINISHED = "\ufffd"  # what the first bytes of a character decode to


class TextFeed:
    """Hands on text as soon as it can no longer change.

    A character may be spread over tokens: its first bytes wait for the rest. The deltas put
    together are the text of all tokens decoded at once.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._open: list[int] = []  # tokens since text and characters last ended together
        self._told = 0  # characters of them that were handed on
        self._ids: list[int] = []  # tokens since the last delta

    def push(self, token: int) -> TextDelta | None:
        """The text that is certain with this token, if there is any."""
        self._open.append(token)
        self._ids.append(token)
        text = self._tokenizer.decode(self._open)
        is_whole = not text.endswith(UNFINISHED)
        fresh = text[self._told : None if is_whole else -1]
        if is_whole:
            self._open, self._told = [], 0
        else:
            self._told += len(fresh)
        return self._hand_on(fresh) if fresh else None

    def rest(self) -> TextDelta | None:
        """What still waits at the end."""
        fresh = self._tokenizer.decode(self._open)[self._told :]
        self._open, self._told = [], 0
        return self._hand_on(fresh) if fresh or self._ids else None

    def _hand_on(self, text: str) -> TextDelta:
        delta = TextDelta(text, tuple(self._ids))
        self._ids = []
        return delta
