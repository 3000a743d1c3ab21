"""Console output of all verbs: progress on stderr, results on stdout."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from omnijet.runtime.commands import progress_lines
from omnijet.runtime.files.printable import json_shown, one_line, printable, show
from omnijet.runtime.talk.clock import StageReport


def byte_progress() -> Progress:
    """Returns a progress bar over bytes on stderr, hidden when stderr is no terminal."""
    return _progress(DownloadColumn(binary_units=False))


def step_progress() -> Progress:
    """Returns a progress bar over steps on stderr, hidden when stderr is no terminal."""
    return _progress(MofNCompleteColumn())


@contextmanager
def stage_progress() -> Iterator[StageReport]:
    """Shows a progress bar on stderr for each stage that is reported."""
    with step_progress() as progress:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=None)
            progress.update(tasks[what], completed=done, total=total or None)

        yield report


def _progress(measure: ProgressColumn) -> Progress:
    if progress_lines.is_wanted():
        return progress_lines.LineProgress()
    console = Console(stderr=True)
    return Progress(
        _Words(""),
        BarColumn(),
        measure,
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def add_format(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--format", choices=("table", "json"), default="table", help="how to print the result"
    )


def say(line: str | None) -> None:
    """Prints a line on stderr; None prints nothing."""
    if line is not None:
        show(line, sys.stderr)


def print_json(value: Any) -> None:
    print(json_shown(value, sys.stdout))


def print_table(table: Table) -> None:
    # a pipe has no width of its own: cells get the room they need instead of being cut
    console = _Plain()
    if not console.is_terminal:
        console = _Plain(width=200)
    console.print(table)


class _Plain(Console):
    """A console that takes cells for what they are: foreign names hold no markup and no codes."""

    def render_str(self, text: str, **options: Any) -> Text:
        plain = {"markup": False, "emoji": False, "highlight": False}
        return super().render_str(printable(text), **{**options, **plain})


class _Words(TextColumn):
    """What a progress bar is about."""

    def render(self, task: Task) -> Text:
        return Text(f"{one_line(task.description):<24}")


def size_text(count: float) -> str:
    """Returns a number of bytes as text: `1234567` -> `1.23 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.2f} {unit}"
        count /= 1000
    raise AssertionError


def whole_number(least: int) -> Callable[[str], int]:
    """Returns an argument type: whole numbers that are at least `least`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise ArgumentTypeError(f"expected a whole number from {least}, got {text!r}")
        return value

    return parse
