"""The target that a user asks for: by its name, or this machine's."""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError

from omnijet.engines.targets.found import AUTO, described, lacking, target_here
from omnijet.engines.targets.target import TARGETS, Target
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.machine.platform import Platform

LIST_COMMAND = "omnijet build --list"
_LEAST_GB, _MOST_GB = 1, 2048
_UNITS = {"": 1.0, "g": 1.0, "gb": 1.0, "gib": 2**30 / 1e9, "mb": 1e-3, "mib": 2**20 / 1e9}
_SIZE = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*([a-z]*)")


def add_target(parser: ArgumentParser) -> None:
    """Adds `--target` and `--memory`."""
    parser.add_argument(
        "--target", metavar="T",
        help=f"your machine and its library: --list shows them; {AUTO}: this machine",
    )  # fmt: skip
    parser.add_argument(
        "--memory", type=gigabytes, metavar="SIZE",
        help="memory of your card or board where it differs from the target's, such as 24GB: the "
        "limits follow from it",
    )  # fmt: skip


def gigabytes(text: str) -> float:
    """Parses a size of memory, such as `24GB`, `24` or `24GiB`; returns gigabytes."""
    found = _SIZE.fullmatch(text.strip().lower())
    size = None if found is None else _UNITS.get(found.group(2))
    if found is None or size is None:
        raise ArgumentTypeError(f"expected a size such as 24GB, got {text!r}")
    value = float(found.group(1)) * size
    if not _LEAST_GB <= value <= _MOST_GB:
        raise ArgumentTypeError(f"expected {_LEAST_GB} to {_MOST_GB} GB, got {text!r}")
    return value


def chosen_target(name: str | None, memory_gb: float | None, platform: Platform) -> Target:
    """Returns the target that the options name.

    Args:
        name: a key of `TARGETS`, or `AUTO` for the target of the platform.
        memory_gb: of `--memory`.

    Raises:
        OmnijetError: there is no such target, or none for this machine; or the target has no
            memory that could differ.
    """
    target = TARGETS.get(name or "")
    if name == AUTO:
        target = target_here(platform)
    if target is None:
        raise _unknown(name, platform)
    if memory_gb is None:
        return target
    if target.library == "onnxruntime":
        raise OmnijetError(
            "graphs for ONNX Runtime take every size, and have no such option",
            where=f"target {target.name}",
            got="--memory",
            fix="leave it out",
        )
    return target.with_memory(memory_gb)


def _unknown(name: str | None, platform: Platform) -> OmnijetError:
    if name == AUTO:
        return OmnijetError(
            "this machine has no target of its own",
            where=described(platform),
            got=lacking(platform),
            fix=f"name one with --target; `{LIST_COMMAND}` shows them",
        )
    return OmnijetError(
        "no target is given" if name is None else f"there is no target {name!r}",
        expected=f"--target with {AUTO} for this machine, or one of " + ", ".join(TARGETS),
        fix=f"`{LIST_COMMAND}` shows what they are",
    )
