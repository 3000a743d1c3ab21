"""Runs what was built, where this machine can, and compares it with the bundle's references."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from omnijet.engines.build import open_for_building
from omnijet.engines.references import record_lacking
from omnijet.engines.targets.target import Target
from omnijet.runtime.backends.choose import DEFAULT, PROVIDERS
from omnijet.runtime.backends.ort_installed import cpu_target
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.commands.console import say, stage_progress
from omnijet.runtime.commands.references import CannotRun, Compared, Way, compared
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.names import shell_quoted
from omnijet.runtime.files.printable import one_line, show


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of the graphs that were built.

    Attributes:
        compared: how they compare; None: they were not compared.
        why_not: the reason for that.
        later: the command that compares them on their own machine.
    """

    compared: Compared | None = None
    why_not: str = ""
    later: str = ""

    @property
    def faults(self) -> list[str]:
        return [] if self.compared is None else self.compared.faults

    @property
    def wrong(self) -> list[str]:
        """The graphs that are wrong."""
        return [] if self.compared is None else self.compared.wrong

    def of(self, graph: str) -> dict[str, Any] | None:
        """Returns what is known of one graph, in the types of JSON."""
        if self.compared is None:
            return {"cannot run": {"what": self.why_not, "fix": self.later}}
        verdict = self.compared.verdicts.get(graph)
        return None if verdict is None else dict(verdict)

    def show(self) -> None:
        """Prints how the graphs compare, or why nobody knows."""
        if self.compared is not None:
            self.compared.show()
        else:
            show(one_line(f"not compared with the bundle's references: {self.why_not}; "
                          f"later: {self.later}"))  # fmt: skip


def with_references(bundle: Bundle) -> Bundle:
    """Records what the bundle lacks; returns it opened again. Where nothing can be recorded, a line
    on stderr says why.
    """
    try:
        with stage_progress() as report:
            made = record_lacking(bundle.folder, report)
    except OmnijetError as error:
        say(f"no references are recorded: {one_line(error.what)}")
        return bundle
    return open_for_building(bundle.folder) if made else bundle


def try_engines(bundle: Bundle, target: Target, graphs: Collection[str]) -> Trial | None:
    """Compares engines, or graphs for ONNX Runtime, that were built.

    Graphs for a GPU, or for an older ONNX Runtime, run on this processor where it must be: that
    shows what the lowering did, and not what the other machine does.

    Args:
        graphs: their names; None is returned if there are none.
    """
    if not graphs:
        return None
    name, only = target.name, tuple(graphs)
    if target.library != "onnxruntime":
        ways, option = [Way(engines=name, only=only)], f"--engines {name}"
    elif name == cpu_target():
        ways, option = [Way(DEFAULT.name, only=only)], f"--provider {DEFAULT.name}"
    else:
        ways = [Way(name, only=only)] if name in PROVIDERS else []
        ways.append(Way(name, on_processor=True, only=only))
        option = f"--provider {name if name in PROVIDERS else DEFAULT.name}"
    later = f"omnijet check {shell_quoted(bundle.folder)} {option}"
    why = ""
    for way in ways:
        try:
            with stage_progress() as report:
                return Trial(compared(bundle, way, progress=report), later=later)
        except CannotRun as error:
            why = why or error.what
        except OmnijetError as error:  # there are no references
            return Trial(None, error.what, error.fix or later)
    return Trial(None, why, f"{later}, on the machine that it is for")
