"""`steps.json`: which steps of a deployment are done, with which inputs, and how long they took.

A step is noted before it begins, with what its output was by then, and again when it has ended.
All outputs appear whole or not at all: an output that is another one after a kill was finished by
the killed run, and is taken over.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from omnijet.runtime.bundle.records import build
from omnijet.runtime.files.json_text import BadJson, parsed, read_json
from omnijet.runtime.files.printable import json_shown
from omnijet.runtime.files.whole_file import write_whole

FORMAT = "omnijet-steps-1"
FILE_NAME = "steps.json"
MOST_BYTES = 4 << 20
MOST_ATTEMPTS = 50

State = Literal["begun", "done", "skipped"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One time that a step was at work.

    Attributes:
        began: seconds since 1970.
        seconds: how long it worked; 0 if it was cut: nobody knows then.
        ended: how: "done", "failed", or "cut" by a kill or Ctrl-C.
        took_over: what an earlier attempt had finished of it, in the words of the command.
    """

    began: float
    seconds: float = 0.0
    ended: Literal["done", "failed", "cut"] = "cut"
    took_over: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """One step.

    Attributes:
        key: hash of its inputs.
        before: what its output was when it began; "": there was none.
        output: what its output is since it is done.
        where: the name of the machine that did it.
        why: of a step that was skipped.
        facts: what it measured, for the report.
    """

    key: str
    state: State
    before: str = ""
    output: str = ""
    where: str = ""
    why: str = ""
    seconds: float = 0.0
    peak_bytes: int = 0
    attempts: tuple[Attempt, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Content:
    format: Literal["omnijet-steps-1"]
    steps: dict[str, Record]


class Journal:
    """The records of one deployment's folder; every change is written at once."""

    def __init__(self, folder: Path, records: dict[str, Record] | None = None) -> None:
        self._path = folder / FILE_NAME
        self._records = dict(records or {})

    @staticmethod
    def read(folder: Path) -> Journal:
        """Reads the journal; a missing or damaged one is empty: its steps look at their outputs."""
        try:
            return Journal(folder, records_of(read_json(folder / FILE_NAME, MOST_BYTES)))
        except (OSError, BadJson, ValueError):
            return Journal(folder)

    @property
    def records(self) -> dict[str, Record]:
        return dict(self._records)

    def get(self, step: str) -> Record | None:
        return self._records.get(step)

    def is_done(self, step: str) -> bool:
        record = self._records.get(step)
        return record is not None and record.state == "done"

    def begin(self, step: str, key: str, before: str, where: str) -> None:
        """Notes that a step begins. Earlier attempts with the same inputs stay on record."""
        found = self._records.get(step)
        earlier = found.attempts if found is not None and found.key == key else ()
        attempts = (*earlier, Attempt(time.time()))[-MOST_ATTEMPTS:]
        self._put(step, Record(key, "begun", before, where=where, attempts=attempts))

    def end(
        self, step: str, *, output: str, seconds: float, peak_bytes: int,
        took_over: tuple[str, ...], facts: dict[str, Any],
    ) -> None:  # fmt: skip
        """Notes that the step that began is done."""
        found = self._records[step]
        last = replace(found.attempts[-1], seconds=seconds, ended="done", took_over=took_over)
        self._put(step, replace(
            found, state="done", output=output, seconds=seconds, peak_bytes=peak_bytes, facts=facts,
            attempts=(*found.attempts[:-1], last),
        ))  # fmt: skip

    def fail(self, step: str, seconds: float, *, is_cut: bool) -> None:
        """Notes that the step that began has ended without its output."""
        found = self._records[step]
        ended: Literal["failed", "cut"] = "cut" if is_cut else "failed"
        last = replace(found.attempts[-1], seconds=seconds, ended=ended)
        self._put(step, replace(found, attempts=(*found.attempts[:-1], last)))

    def adopt(self, step: str, output: str) -> None:
        """Notes that a killed run had finished the step."""
        self._put(step, replace(self._records[step], state="done", output=output))

    def skip(self, step: str, why: str, where: str) -> None:
        """Notes that a step is not done, and why."""
        self._put(step, Record("", "skipped", where=where, why=why))

    def take(self, step: str, record: Record) -> None:
        """Puts in the record of another machine."""
        if self._records.get(step) != record:
            self._put(step, record)

    def forget(self, step: str) -> None:
        if step in self._records:
            del self._records[step]
            self._write()

    def _put(self, step: str, record: Record) -> None:
        self._records[step] = record
        self._write()

    def _write(self) -> None:
        data = {
            "format": FORMAT,
            "steps": {name: asdict(record) for name, record in self._records.items()},
        }
        write_whole(self._path, f"{json_shown(data)}\n".encode(), follow_link=False)


def records_of(data: Any) -> dict[str, Record]:
    """Returns the records of a parsed journal. Raises `ValueError` if it is none."""
    content: _Content = build(_Content, data, closed=True)
    return content.steps


def parsed_records(text: str) -> dict[str, Record]:
    """Returns the records in the text of a journal, also of a foreign one; empty if it is none."""
    try:
        return records_of(parsed(text[:MOST_BYTES]))
    except (BadJson, ValueError):
        return {}
