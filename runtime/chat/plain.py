"""Shows a chat as lines: replies on stdout, all else on stderr."""

from __future__ import annotations

import sys

from omnijet.runtime.chat.view import Phase
from omnijet.runtime.files.printable import for_reader, show


class PlainView:
    """A `View` for pipes, files, and terminals that do not give every key at once."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._phase: Phase | None = None

    def phase(self, phase: Phase) -> None:
        """See `View.phase`."""
        if phase is not self._phase:
            self._phase = phase
            show(f"[{phase.value}]", sys.stderr)

    def question(self, text: str) -> None:
        """See `View.question`."""
        show(f"you: {text}", sys.stderr)

    def answer(self, text: str) -> None:
        """See `View.answer`."""
        self._pieces.append(text)

    def answered(self, note: str | None) -> None:
        """See `View.answered`."""
        text = "".join(self._pieces)
        self._pieces.clear()
        if text:
            print(for_reader(text, sys.stdout), flush=True)
        if note is not None:
            show(f"[{note}]", sys.stderr)

    def latency(self, milliseconds: float) -> None:
        """See `View.latency`."""
        show(f"[answered after {milliseconds:.0f} ms]", sys.stderr)

    def tell(self, text: str) -> None:
        """See `View.tell`."""
        show(text, sys.stderr)

    def typing(self, text: str) -> None:
        """See `View.typing`: the terminal shows it."""

    def close(self) -> None:
        """See `View.close`. What was said of a reply that did not end is shown."""
        self.answered(None)
