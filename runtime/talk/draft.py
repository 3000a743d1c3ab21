"""A reply while it is written: where its text stops, and how much of it is spoken."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from omnijet.runtime.prompt.markers import Scanner
from omnijet.runtime.prompt.tokenizer import Tokenizer
from omnijet.runtime.talk.characters import Characters
from omnijet.runtime.talk.options import Options


class Draft:
    """Follows a reply token by token.

    A token is spoken if all its characters surely stand before the stop string and before the
    first marker of what is not spoken. One that holds the last letters before a marker together
    with the marker's first is not.

    Attributes:
        spoken: how many tokens, from the first, are certain to be spoken.
    """

    def __init__(self, tokenizer: Tokenizer, options: Options) -> None:
        kept = kept_ids(tokenizer, (*options.stop, *options.unspoken))
        self._characters = Characters(tokenizer, kept)
        self._stop, self._unspoken = Scanner(options.stop), Scanner(options.unspoken)
        self._length = 0
        self._ends: deque[int] = deque()  # where the tokens end that are not certain yet
        self.spoken = 0

    @property
    def is_stopped(self) -> bool:
        """Whether the text holds a stop string: the reply ends here."""
        return self._stop.begin is not None

    @property
    def is_silent(self) -> bool:
        """Whether no token is spoken beyond those counted in `spoken`."""
        return self.is_stopped or self._unspoken.begin is not None

    def push(self, token: int) -> None:
        """Adds a token."""
        self._read(self._characters.push(token))
        # the characters of a token that are not whole yet begin with the next one
        self._ends.append(self._length + (not self._characters.are_whole))
        self._count(min(self._stop.certain, self._unspoken.certain))

    def finish(self) -> None:
        """Notes that the text has ended: what might have begun a marker has not."""
        self._read(self._characters.rest())
        if self.is_silent:
            self._count(min(self._stop.certain, self._unspoken.certain))
        else:
            self._count(self._length + 1)

    def _read(self, text: str) -> None:
        self._length += len(text)
        self._stop.push(text)
        self._unspoken.push(text)

    def _count(self, certain: int) -> None:
        while self._ends and self._ends[0] <= certain:
            self._ends.popleft()
            self.spoken += 1


class Written(NamedTuple):
    """The text of a reply, without its stop string.

    Attributes:
        spoken: up to the first marker of what is not spoken.
        unspoken: from that marker on.
    """

    spoken: str
    unspoken: str


def written(
    tokenizer: Tokenizer, ids: Sequence[int], options: Options, *, is_whole: bool
) -> Written:
    """Returns the text of tokens.

    Args:
        ids: a reply's, or its first.
        is_whole: whether no more tokens come. If some may, what may begin a stop string is left
            out, and what may begin a marker is not called spoken.
    """
    if not options.stop and not options.unspoken:
        return Written(tokenizer.decode(ids), "")
    text = tokenizer.decode(ids, kept_ids(tokenizer, (*options.stop, *options.unspoken)))
    text = text[: _certain(text, options.stop, is_whole)]
    spoken = _certain(text, options.unspoken, is_whole)
    return Written(text[:spoken], text[spoken:])


def kept_ids(tokenizer: Tokenizer, markers: Iterable[str]) -> frozenset[int]:
    """Returns the tokens that are a marker each: they are text, also where they are special."""
    found = (tokenizer.token_id(marker) for marker in markers)
    return frozenset(token for token in found if token is not None)


def _certain(text: str, markers: Sequence[str], is_whole: bool) -> int:
    scanner = Scanner(markers)
    scanner.push(text)
    return len(text) if is_whole and scanner.begin is None else scanner.certain
