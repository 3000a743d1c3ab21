"""Tokens that come one by one become whole characters."""

from __future__ import annotations

from omnijet.runtime.prompt.tokenizer import Tokenizer

UNFINISHED = "\ufffd"  # what the first bytes of a character decode to


class Characters:
    """Decodes a text token by token.

    A character may be spread over several tokens; its first bytes wait for the others. All pieces
    together are the text of all tokens decoded at once.

    Args:
        kept: special tokens that are text.
    """

    def __init__(self, tokenizer: Tokenizer, kept: frozenset[int] = frozenset()) -> None:
        self._tokenizer, self._kept = tokenizer, kept
        self._open: list[int] = []  # tokens since the last complete character
        self._sent = 0  # characters of the open tokens that were passed on

    @property
    def are_whole(self) -> bool:
        """Whether no token waits for the rest of a character."""
        return not self._open

    def push(self, token: int) -> str:
        """Adds a token; returns the characters that are certain now."""
        self._open.append(token)
        text = self._tokenizer.decode(self._open, self._kept)
        is_whole = not text.endswith(UNFINISHED)
        fresh = text[self._sent : None if is_whole else -1]
        if is_whole:
            self._open, self._sent = [], 0
        else:
            self._sent += len(fresh)
        return fresh

    def rest(self) -> str:
        """Returns the characters that still wait at the end."""
        fresh = self._tokenizer.decode(self._open, self._kept)[self._sent :]
        self._open, self._sent = [], 0
        return fresh
