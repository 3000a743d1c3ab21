"""What a deployment tells while it works: to a person on a terminal, or to another omnijet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from omnijet.runtime.bundle.ranges import Within
from omnijet.runtime.bundle.records import build
from omnijet.runtime.files.json_text import BadJson, parsed
from omnijet.runtime.files.printable import json_line, one_line, printable

MARK = "omnijet-deploy "
"""Begins a line that is an event; anything else on the pipe is chatter of a login shell."""
MOST_TEXT = 4000

Kind = Literal["begun", "progress", "said", "done", "skipped", "waits", "failed", "ended"]
Count = Annotated[int, Within(0, 2**53)]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    Attributes:
        step: the step that it is about; "": none.
        text: what is done at the moment, a line that was said, or why.
        seconds: how long the step took.
        code: of "ended": the exit code of the command.
    """

    kind: Kind
    step: str = ""
    text: str = ""
    done: Count = 0
    total: Count = 0
    seconds: float = 0.0
    code: int = 0

    def line(self) -> str:
        return MARK + json_line({**asdict(self), "text": self.text[:MOST_TEXT]})

    @staticmethod
    def parsed(line: str) -> Event | None:
        """Returns the event of a line of another machine, harmless for a terminal; None: none."""
        if not line.startswith(MARK):
            return None
        try:
            found: Event = build(Event, parsed(line.removeprefix(MARK)), closed=True)
        except (BadJson, ValueError):
            return None
        harmless = printable if found.kind == "failed" else one_line
        return Event(
            found.kind, one_line(found.step)[:40], harmless(found.text)[:MOST_TEXT],
            found.done, found.total, found.seconds, found.code,
        )  # fmt: skip


Told = Callable[[Event], None]
"""Receives events, in the thread that works."""
