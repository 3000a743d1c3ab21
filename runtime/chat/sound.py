"""The interface of what hears and plays: a sound card, or files in its place."""

from __future__ import annotations

from typing import Protocol

WAIT_S = 0.1  # how often a status is looked at


class Sound(Protocol):
    """Puts what it hears and pulls what it plays. One thread uses it."""

    def start(self) -> None:
        """Begins.

        Raises:
            OmnijetError: there is no such device, or it refuses.
        """
        ...

    def wait_s(self) -> float:
        """Returns in how many seconds `step` is to be called at the latest."""
        ...

    def step(self) -> None:
        """Does what is due by now."""
        ...

    def close(self) -> None:
        """Ends. Harmless if repeated."""
        ...
