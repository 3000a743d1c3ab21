"""Shows the events of a deployment: one progress display, plain lines, or lines for a program."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from omnijet.deployment.deploy.events import Event, Told
from omnijet.runtime.commands.console import say
from omnijet.runtime.files.printable import one_line

WIDTH = 44
"""Columns of what is done at the moment."""


@contextmanager
def display(steps: Sequence[str]) -> Iterator[Told]:
    """Yields what shows events on stderr: bars on a terminal, else a line for each step."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda event: say(line_of(event, steps))
        return
    with _Bars(console, steps) as bars:
        yield bars.tell


@contextmanager
def for_program() -> Iterator[Told]:
    """Yields what writes events on stdout for another omnijet, each at once."""

    def tell(event: Event) -> None:
        sys.stdout.write(f"{event.line()}\n")
        sys.stdout.flush()  # a reader that has gone is noticed here

    yield tell


def line_of(event: Event, steps: Sequence[str]) -> str | None:
    """Returns the line of an event where nothing can be drawn; None: it gets none."""
    name = event.step
    if event.kind in ("progress", "failed", "ended"):
        return None
    if event.kind == "said":
        return f"  {name}: {event.text}" if name else event.text
    place = f"{steps.index(name) + 1}/{len(steps)} " if name in steps else ""
    note = f" ({event.text})" if event.text else ""
    took = f" in {event.seconds:.1f} s" if event.seconds else ""
    words = {"begun": "begins", "done": f"done{took}", "skipped": "left out", "waits": "waits"}
    return f"{place}{name}: {words[event.kind]}{note}"


class _Bars:
    """All steps in one bar, and the present one in another below it."""

    def __init__(self, console: Console, steps: Sequence[str]) -> None:
        self._steps = steps
        self._bars = Progress(
            _Words(""), BarColumn(), _Share(""), TimeElapsedColumn(), console=console
        )
        self._all = self._bars.add_task("deploy", total=len(steps))
        self._now: TaskID | None = None

    def __enter__(self) -> _Bars:
        self._bars.start()
        return self

    def __exit__(self, *ended: object) -> None:
        self._bars.stop()

    def tell(self, event: Event) -> None:
        if event.kind == "progress":
            self._advance(event)
            return
        line = line_of(event, self._steps)
        if line is not None:
            self._bars.console.print(Text(one_line(line)))
        if event.kind == "begun":
            self._bars.update(self._all, description=f"deploy: {event.step}")
            self._close()
            self._now = self._bars.add_task(event.text or event.step, total=None)
        elif event.kind in ("done", "skipped", "waits"):
            self._close()
            if event.step in self._steps:
                self._bars.update(self._all, completed=self._steps.index(event.step) + 1)

    def _advance(self, event: Event) -> None:
        if self._now is None:
            self._now = self._bars.add_task(event.text, total=None)
        self._bars.update(
            self._now, description=event.text, completed=event.done, total=event.total or None
        )

    def _close(self) -> None:
        if self._now is not None:
            self._bars.remove_task(self._now)
            self._now = None


class _Words(TextColumn):
    """What a bar is about."""

    def render(self, task: Task) -> Text:
        return Text(f"{one_line(task.description)[:WIDTH]:<{WIDTH}}")


class _Share(TextColumn):
    """How far a bar is."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.percentage:3.0f} %" if task.total else "     ")
