"""Guesses of the tokens to come, looked up in what was read and written before.

A reply often repeats its prompt or itself: names, quotations, code, lists. Where the last tokens
stood before, the tokens that followed them there are the guess ("prompt lookup"; Saxena 2023,
github.com/apoorvumang/prompt-lookup-decoding). A guess costs no model: it is checked in the same
call that computes the next token anyway (`omnijet.runtime.model.thinker`).
"""

from __future__ import annotations

from collections.abc import Set
from typing import NamedTuple

import numpy as np

from omnijet.runtime.bundle.contract import Array

UNKNOWN = -1
"""Stands for a token that equals no other: the placeholder of a picture or a sound."""
SHORTEST, LONGEST = 2, 16
"""How many of the last tokens must have stood before, and how many more are told apart."""
CANDIDATES = 8
"""How many of the latest places are compared; the longest match wins, then the latest."""

_CLASSES = (2, 3, 4, 6, 10)  # the shortest match of each class
_PRIORS = (0.3, 0.45, 0.6, 0.75, 0.85)
_PRIOR_WEIGHT, _MEMORY = 4, 24  # in guesses: what the prior counts, and how many are remembered
_CLASS_OF = tuple(sum(length >= least for least in _CLASSES) - 1 for length in range(LONGEST + 1))


class Guess(NamedTuple):
    """Tokens that may follow, and how likely each is if those before it came true."""

    tokens: list[int]
    chances: list[float]


NO_GUESS = Guess([], [])


class Lookup:
    """The tokens of one conversation, and how good guesses from them have been.

    Every token shows whether it would have been guessed, whether it was or not: text that does not
    repeat itself is found out without a step in vain.

    Args:
        prompt: i64[n], `UNKNOWN` where a medium stands.
        ends: tokens that are never guessed, since they are never fed.
    """

    def __init__(self, prompt: Array, ends: Set[int]) -> None:
        self._ids = np.empty(max(2 * prompt.size, 1024), np.int32)
        self._ids[: prompt.size] = prompt
        self._count = prompt.size
        self._ends = ends
        self._chances = list(_PRIORS)
        self._weights = [float(_PRIOR_WEIGHT)] * len(_PRIORS)
        self._match, self._length = -1, 0  # where the last tokens end that stood before
        self._find()

    def push(self, token: int) -> None:
        """Adds a token of the reply."""
        if self._count == self._ids.size:
            self._ids = np.concatenate([self._ids, np.empty_like(self._ids)])
        is_right = False
        if self._match >= 0:
            is_right = int(self._ids[self._match + 1]) == token
            self._learn(_CLASS_OF[self._length], is_right)
        self._ids[self._count] = token
        self._count += 1
        if is_right:
            self._match += 1
            self._length = min(self._length + 1, LONGEST)
        else:
            self._find()

    def guess(self, most: int) -> Guess:
        """Returns what may follow the last token, `most` tokens or fewer."""
        if self._match < 0 or most <= 0:
            return NO_GUESS
        follows = self._ids[self._match + 1 : self._count]
        # what repeats itself at once goes on so
        tokens: list[int] = np.resize(follows, most).tolist()
        for place, token in enumerate(tokens):
            if token == UNKNOWN or token in self._ends:
                del tokens[place:]
                break
        lengths = range(self._length, self._length + len(tokens))
        return Guess(tokens, [self._chances[_CLASS_OF[min(n, LONGEST)]] for n in lengths])

    def _find(self) -> None:
        """Looks for the last tokens among those before them."""
        self._match, self._length = -1, 0
        ids, count = self._ids[: self._count], self._count
        if count <= SHORTEST or int(ids[-SHORTEST:].min()) == UNKNOWN:
            return
        same = (ids[1 : count - 1] == ids[-1]) & (ids[: count - 2] == ids[-2])
        places = same.nonzero()[0][-CANDIDATES:] + 1
        for place in places.tolist():
            length = self._common(place)
            if length >= self._length:
                self._match, self._length = place, length

    def _common(self, place: int) -> int:
        """Returns how many tokens up to a place are those at the end, at most `LONGEST`."""
        most = min(place + 1, LONGEST)
        here = self._ids[place + 1 - most : place + 1]
        end = self._ids[self._count - most : self._count]
        other = ((here != end) | (end == UNKNOWN)).nonzero()[0]
        return most if not other.size else int(most - 1 - other[-1])

    def _learn(self, kind: int, is_right: bool) -> None:
        weight = self._weights[kind] = min(self._weights[kind] + 1, _MEMORY)
        self._chances[kind] += (is_right - self._chances[kind]) / weight
