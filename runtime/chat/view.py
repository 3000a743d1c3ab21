"""What a chat tells whoever uses it."""

from __future__ import annotations

from enum import Enum
from typing import Protocol


class Phase(Enum):
    """What goes on now."""

    READY = "ready"
    LISTENING = "listening"
    HEARING = "hearing you"
    THINKING = "thinking"
    SPEAKING = "speaking"


class View(Protocol):
    """A screen, or what stands in for one. One thread uses it."""

    def phase(self, phase: Phase) -> None:
        """Shows what goes on now."""
        ...

    def question(self, text: str) -> None:
        """Shows what the user asked; what was typed on this terminal is there already."""
        ...

    def answer(self, text: str) -> None:
        """Shows the next piece of a reply."""
        ...

    def answered(self, note: str | None) -> None:
        """Ends a reply.

        Args:
            note: why it is not whole, if it is not.
        """
        ...

    def latency(self, milliseconds: float) -> None:
        """Shows how long it took from the end of a question to its reply's first sound or text."""
        ...

    def tell(self, text: str) -> None:
        """Shows a line that is no part of the conversation."""
        ...

    def typing(self, text: str) -> None:
        """Shows the line that is being typed."""
        ...

    def close(self) -> None:
        """Leaves the terminal as it was. Harmless if repeated."""
        ...
