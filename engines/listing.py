"""The table of targets in a user's words: your machine, its memory, what it can run."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from omnijet.engines.targets.found import AUTO, described, lacking, target_here
from omnijet.engines.targets.target import TARGETS, Target
from omnijet.runtime.commands.console import print_json, print_table
from omnijet.runtime.files.printable import show
from omnijet.runtime.machine.platform import Platform

MARK = "this machine"


def print_targets(platform: Platform, form: str) -> None:
    """Prints all targets, and which of them is this machine.

    Args:
        form: "table" or "json".
    """
    here = target_here(platform)
    if form == "json":
        print_json([_json(target, here) for target in TARGETS.values()])
        return
    print_table(targets_table(here))
    show(f"this machine: {described(platform)}")
    if here is None:
        show(f"it has no target: {lacking(platform)}")
    else:
        show(f"--target {AUTO} takes {here.name}")


def targets_table(here: Target | None) -> Table:
    """Returns one row for each target.

    Args:
        here: the target of this machine; it is marked, and has this machine's memory.
    """
    table = Table("target", "your machine", "memory", "it can run", "with", "")
    for target in TARGETS.values():
        is_here = here is not None and here.name == target.name
        shown = here if is_here and here is not None else target
        table.add_row(
            target.name, target.device.title, _memory(shown), ", ".join(runs(target)),
            target.toolkit.title, f"<- {MARK}" if is_here else "",
        )  # fmt: skip
    return table


def runs(target: Target) -> list[str]:
    """Returns the numbers that bundles for a target may be in, in a user's words."""
    words = {"int4 weights": "INT4", "int8": "INT8", "fp8": "FP8"}
    integers = [word for number, word in words.items() if number in target.numbers]
    return [*(name for name in target.precisions if name != "f32"), *integers]


def _memory(target: Target) -> str:
    if target.memory_gb is None:
        return ""
    return f"{target.memory_gb:.0f} GB" + (", shared" if target.device.shared else "")


def _json(target: Target, here: Target | None) -> dict[str, Any]:
    is_here = here is not None and here.name == target.name
    shown = here if is_here and here is not None else target
    return {
        "target": target.name, "machine": target.device.title, "memory_gb": shown.memory_gb,
        "shared": target.device.shared, "runs": runs(target), "with": target.toolkit.title,
        "compute_capability": target.compute_capability, "flavour": target.flavour,
        MARK: is_here,
    }  # fmt: skip
