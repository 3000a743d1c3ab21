"""Rules that a server must keep, and the report of a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from omnijet.runtime.files.printable import show
from omnijet.runtime.profiling.machine import machine
from tools.gpu_check.report import table

FAULTS_SHOWN = 20
FOREIGN = "Invalid UTF-8 sequence received from client."
LINES_SHOWN = 9  # of a traceback


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, what was found, and whether that keeps it."""

    name: str
    limit: str
    found: str
    holds: bool

    @staticmethod
    def none(name: str, faults: Sequence[object], of: int | None = None) -> Rule:
        """Returns the rule that there is no fault."""
        found = f"{len(faults)}" if of is None else f"{len(faults)} of {of}"
        return Rule(name, "0", found, not faults)


def tracebacks(log: str) -> list[str]:
    """Returns the end of each traceback in a log, but of those that uvicorn shows by design."""
    found = []
    for before, part in pairwise(log.split("Traceback (most recent call last):\n")):
        if before.rstrip().endswith(FOREIGN):
            continue
        lines = part.splitlines()
        count = next((n for n, line in enumerate(lines) if not line.startswith(" ")), len(lines))
        found.append("\n".join(lines[: count + 1][-LINES_SHOWN:]))
    return found


@dataclass(frozen=True, slots=True)
class Report:
    """What a run found.

    Attributes:
        head, rows: a table of figures.
        faults: one text each.
        facts: for a program that reads them.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    rules: Sequence[Rule]
    faults: Sequence[str]
    facts: dict[str, Any]

    @property
    def holds(self) -> bool:
        """Whether every rule is kept."""
        return all(rule.holds for rule in self.rules)

    def tell(self, path: Path | None) -> int:
        """Prints the report, writes it as JSON if asked to, and returns the exit code."""
        for fault in self.faults[:FAULTS_SHOWN]:
            show(fault, sys.stderr)
        show(f"## {self.title}\n\n{machine()}\n\n{table(self.head, self.rows)}\n")
        verdicts = [
            (one.name, one.limit, one.found, "PASS" if one.holds else "FAIL") for one in self.rules
        ]
        show(table(("rule", "limit", "found", ""), verdicts))
        if path is not None:
            found = {"title": self.title, "rules": [asdict(one) for one in self.rules],
                     "faults": list(self.faults), **self.facts}  # fmt: skip
            path.write_text(json.dumps(found, indent=1))
        return 0 if self.holds else 1
