"""The interface of what says how likely a short piece of sound is speech."""

from __future__ import annotations

from typing import Protocol

from omnijet.runtime.bundle.contract import Array


class Scorer(Protocol):
    """Scores pieces of a sound that follow each other. One thread at a time uses it.

    Attributes:
        samples: how long a piece is, at 16 kHz.
    """

    samples: int

    def score(self, piece: Array) -> float:
        """Returns how sure it is, in [0, 1], that f32[samples] in [-1, 1] is speech."""
        ...

    def reset(self) -> None:
        """Forgets the pieces before."""
        ...
