"""How many guesses a decode step feeds behind the token that it must feed anyway."""

from __future__ import annotations

from dataclasses import dataclass, field

from omnijet.runtime.model.decoder import Context
from omnijet.runtime.model.lookup import Guess, Lookup
from omnijet.runtime.model.pace import SIZES, WARM, Pace

ALWAYS = 8
"""The most rows of a step whose guesses nobody weighs."""


@dataclass(slots=True)
class Drafts:
    """The guesses of one reply.

    Attributes:
        lookup: what was read and written.
        pace: what steps cost; None: guesses are fed whatever they cost.
        certain: tokens that will be chosen first, whatever the model says.
    """

    lookup: Lookup
    pace: Pace | None
    certain: list[int] = field(default_factory=list)

    def push(self, token: int) -> None:
        """Adds the token that was chosen."""
        self.lookup.push(token)
        del self.certain[:1]

    def tokens(self, context: Context, most: int) -> list[int]:
        """Returns what to feed behind the last token.

        Args:
            most: rows that the step can have, that token's included.
        """
        if most < 2:
            return []
        if self.certain:
            guess = Guess(self.certain[: most - 1], [1.0] * min(len(self.certain), most - 1))
        else:
            guess = self.lookup.guess(most - 1)
        most = min(most, 1 + len(guess.tokens))
        if self.pace is None:
            rows = max(size for size in SIZES if size <= min(most, ALWAYS))
        else:
            rows = self.pace.rows(context.state.capacity, guess.chances, most)
        return guess.tokens[: rows - 1]

    def note(self, context: Context, rows: int, seconds: float) -> None:
        """Adds what a step of so many rows took."""
        if self.pace is not None and context.steps[rows].runs > WARM:
            self.pace.note(context.state.capacity, rows, seconds)
