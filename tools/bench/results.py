"""The figures of one benchmark in a file: each part is added when it is done."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.whole_file import write_whole
from tools.bench.row import Row


@dataclass(frozen=True, slots=True)
class Part:
    """What one part of the benchmark found.

    Attributes:
        rows: its figures; empty if it failed.
        seconds: what it took.
        measured: the day, as 2026-11-30.
        fault: why there are no figures.
    """

    rows: tuple[Row, ...]
    seconds: float
    measured: str
    fault: str = ""

    @staticmethod
    def of(rows: Sequence[Row], seconds: float, fault: str = "") -> Part:
        return Part(tuple(rows), seconds, date.today().isoformat(), fault)


@dataclass(slots=True)
class Results:
    """All parts of one size on one machine.

    Attributes:
        size: "middle" or "full".
        machine: processor and versions in one line.
        rates: measured rates in words.
        parts: by name, in the order of the table.
    """

    size: str
    machine: str
    rates: dict[str, float] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(asdict(self), indent=1).encode())

    @staticmethod
    def read(path: Path) -> Results:
        """Reads a file that `write` wrote.

        Raises:
            OmnijetError: there is none, or it is no file of this benchmark.
        """
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            parts = {
                name: Part(**{**part, "rows": tuple(Row(**row) for row in part["rows"])})
                for name, part in found.pop("parts").items()
            }
            return Results(**found, parts=parts)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise OmnijetError(
                "these are no results of the benchmark",
                where=path,
                expected="a file that `python -m tools.bench` wrote",
                got=f"{type(error).__name__}: {error}",
                fix="`make bench` or `make bench-full` writes it",
            ) from error
