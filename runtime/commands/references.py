"""Compares what runs on a machine with the references of a bundle, graph after graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.commands.console import print_table
from omnijet.runtime.commands.trials import tried
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.printable import one_line, show
from omnijet.runtime.reference.reference import file_of, how_to_record

CHILD: str | Path = "omnijet.runtime.commands.reference_trial"


class CannotRun(OmnijetError):
    """This machine cannot run what is to be compared."""


@dataclass(frozen=True, slots=True)
class Way:
    """What runs the graphs.

    Attributes:
        provider, engines: as for `omnijet run`.
        on_processor: whether graphs that were built for the provider run on the processor.
        only: these graphs; empty: all.
    """

    provider: str | None = None
    engines: str | None = None
    on_processor: bool = False
    only: tuple[str, ...] = ()

    def graphs(self, manifest: Manifest) -> list[str]:
        """Returns the graphs that it runs: engines may be of some only."""
        target = self.engines or (self.provider if self.on_processor else None)
        there = manifest.graphs if target is None else manifest.engines.get(target, {})
        return [name for name in there if not self.only or name in self.only]


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of the comparison.

    Attributes:
        verdicts: by graph, as the process of `CHILD` prints them.
    """

    verdicts: Mapping[str, Mapping[str, Any]]

    @property
    def faults(self) -> list[str]:
        """Returns the lines that say which graphs are wrong, and where."""
        lines = []
        for graph, verdict in self.verdicts.items():
            if "error" in verdict:
                lines.append(f"{graph}: {verdict['error']}")
            lines += verdict.get("comparison", {}).get("faults", [])
        return lines

    @property
    def wrong(self) -> list[str]:
        """Returns the graphs whose outputs are wrong. One that was killed, or took too long, is not
        among them: nothing is known of it.
        """
        compared = {graph: one.get("comparison", {}) for graph, one in self.verdicts.items()}
        return [graph for graph, one in compared.items() if one.get("faults")]

    @property
    def ran(self) -> list[str]:
        """Returns the names of what ran the graphs."""
        names = [verdict["ran"] for verdict in self.verdicts.values() if "ran" in verdict]
        return list(dict.fromkeys(names))

    @property
    def open(self) -> list[str]:
        """Returns one line for each graph of which nothing is known."""
        return [
            f"{graph}: not compared: {verdict['not compared']['what']} "
            f"({verdict['not compared']['fix']})"
            for graph, verdict in self.verdicts.items()
            if "not compared" in verdict
        ]

    def show(self) -> None:
        """Prints a table, and a line for each fault and each graph of which nothing is known."""
        print_table(self.table())
        for line in self.open:
            show(one_line(line))
        for fault in self.faults:
            show(f"FAILED {one_line(fault)}")

    def table(self) -> Table:
        """Returns a row for each graph: its output that is nearest to its limit."""
        table = Table(
            "graph", "signal to error", "limit", "cosine", "most likely tokens", "verdict",
            title=f"{', '.join(self.ran) or 'nothing'} beside the references of the bundle",
        )  # fmt: skip
        for graph, verdict in self.verdicts.items():
            one = verdict.get("comparison")
            if one is None:
                what = "not compared" if "not compared" in verdict else "WRONG"
                table.add_row(graph, "", "", "", "", what)
                continue
            tokens = f"{one['top']} of {one['rows']} the same" if one["rows"] else ""
            table.add_row(
                graph, f"{one['snr_db']:.1f} dB", f"{one['least_db']:.1f} dB",
                f"{one['cosine']:.6f}", tokens, "WRONG" if one["faults"] else "right",
            )  # fmt: skip
        return table


def has_references(bundle: Bundle) -> bool:
    """Returns whether any graph of a bundle has a reference."""
    return any(file_of(name) in bundle.manifest.files for name in bundle.manifest.graphs)


def compared(
    bundle: Bundle,
    way: Way,
    *,
    seconds: float | None = None,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Compared:
    """Runs every graph on its recorded inputs, each in a process of its own.

    Args:
        seconds: the time limit of a graph; None: by the size of its weights.
        progress: called with what is done.

    Raises:
        CannotRun: nothing can be run here; why, and how to mend it.
        OmnijetError: the bundle has no references at all.
    """
    names = way.graphs(bundle.manifest)
    if not has_references(bundle):
        raise OmnijetError(
            "the bundle has no references to compare with",
            where=bundle.folder,
            expected="what its graphs computed on a PC, as `omnijet export` and `quantize` record",
            fix=how_to_record(bundle.folder),
        )
    job = {"provider": way.provider, "engines": way.engines, "on_processor": way.on_processor}
    verdicts: dict[str, dict[str, Any]] = {}
    for done, name in enumerate(names):
        progress("comparing with references", done, len(names))
        verdict = tried(CHILD, bundle, name, job, seconds)
        if isinstance(why := verdict.get("cannot run"), dict):
            raise CannotRun(**why)
        verdicts[name] = verdict
    progress("comparing with references", len(names), len(names))
    return Compared(verdicts)
