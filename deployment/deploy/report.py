"""The report of a deployment: what was made, what it cost, what was predicted and measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from omnijet.deployment.deploy.figures import Figure, figures
from omnijet.deployment.deploy.folder import read_whole
from omnijet.deployment.deploy.journal import Record
from omnijet.deployment.deploy.order import Order
from omnijet.deployment.deploy.steps import NAMES, Check
from omnijet.deployment.deploy.work import Work
from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.commands.console import size_text
from omnijet.runtime.files.json_text import BadJson, parsed
from omnijet.runtime.profiling.record import FILE_NAME as PROFILE

FORMAT = "omnijet-deployment-report-1"
MOST_BYTES = 64 << 20
JUDGED = ("metric", "meaning", "value", "tolerance", "passed")


@dataclass(frozen=True, slots=True)
class Size:
    """The bytes of one graph: its float weights, its weights, and its engine; 0: not known."""

    graph: str
    float_bytes: int
    bytes: int
    engine_bytes: int


@dataclass(frozen=True, slots=True)
class Report:
    """All that a deployment has come to so far.

    Attributes:
        fidelity: what was compared, as `omnijet check --fidelity` judged it.
        faults: why the exit code is 1.
    """

    order: Order
    steps: Mapping[str, Record]
    sizes: tuple[Size, ...]
    fidelity: tuple[Mapping[str, Any], ...]
    figures: tuple[Figure, ...]
    faults: tuple[str, ...]

    @staticmethod
    def of(work: Work) -> Report:
        """Collects what the steps have left in the folder."""
        records = {name: one for name in NAMES if (one := work.journal.get(name)) is not None}
        found = _read(work.folder.fidelity) if Check.name in records else {}
        gate = found.get("gate", [])
        check = records.get(Check.name)
        faults = check.facts.get("faults", []) if check is not None else []
        return Report(
            work.order, records, _sizes(work), tuple(
                {name: one.get(name) for name in JUDGED} for one in gate if isinstance(one, dict)
            ),
            figures(_read(work.folder.plan), _read(work.folder.profile / PROFILE), _built(work)),
            tuple(map(str, faults)),
        )  # fmt: skip

    @property
    def code(self) -> int:
        return 1 if self.faults else 0

    def to_json(self) -> dict[str, Any]:
        """Returns plain dicts, lists and numbers."""
        return {
            "format": FORMAT,
            "checkpoint": self.order.checkpoint, "target": self.order.target,
            "recipe": self.order.recipe, "precision": self.order.dtype,
            "context": self.order.context or None,
            "steps": {name: _step_json(one) for name, one in self.steps.items()},
            "bytes": {
                one.graph: {
                    "float": one.float_bytes or None, "bundle": one.bytes,
                    "engine": one.engine_bytes or None,
                }
                for one in self.sizes
            },
            "fidelity": [dict(one) for one in self.fidelity],
            "figures": [one.to_json() for one in self.figures],
            "faults": list(self.faults), "ok": not self.faults,
        }  # fmt: skip

    def tables(self) -> list[Table]:
        """Returns the tables for a terminal."""
        steps = Table("step", "", "took", "peak memory", "where", "why")
        for name, one in self.steps.items():
            steps.add_row(
                name, one.state, f"{one.seconds:.1f} s" if one.seconds else "",
                size_text(one.peak_bytes) if one.peak_bytes else "", one.where, one.why,
            )  # fmt: skip
        shown = [steps]
        if self.figures:
            table = Table("figure", "predicted", "measured", "unit")
            for figure in self.figures:
                table.add_row(*figure.row())
            shown.append(table)
        return shown


def _step_json(record: Record) -> dict[str, Any]:
    return {
        "state": record.state, "why": record.why, "where": record.where,
        "seconds": record.seconds, "peak_bytes": record.peak_bytes,
        "attempts": [
            {"began": one.began, "seconds": one.seconds, "ended": one.ended,
             "took_over": list(one.took_over)}
            for one in record.attempts
        ],
        "facts": record.facts,
    }  # fmt: skip


def _sizes(work: Work) -> tuple[Size, ...]:
    made, floats = work.made, work.floats
    if made is None:
        return ()
    engines = made.engines.get(work.order.target, {})
    built = _built(work)
    return tuple(
        Size(
            graph, _weights(floats, graph), entry.weight_bytes,
            engines[graph].bytes if graph in engines else built.get(graph, 0),
        )
        for graph, entry in made.graphs.items()
    )  # fmt: skip


def _built(work: Work) -> dict[str, int]:
    """Returns the bytes of engines that another machine has built."""
    record = work.journal.get("build")
    facts = record.facts if record is not None else {}
    return {
        graph: one["bytes"]
        for graph, one in facts.items()
        if isinstance(one, dict) and type(one.get("bytes")) is int
    }


def _weights(manifest: Manifest | None, graph: str) -> int:
    entry = None if manifest is None else manifest.graphs.get(graph)
    return 0 if entry is None else entry.weight_bytes


def _read(path: Path) -> dict[str, Any]:
    try:
        found = parsed(read_whole(path, MOST_BYTES) or b"{}")
    except BadJson:
        return {}
    return found if isinstance(found, dict) else {}
