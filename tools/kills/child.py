"""A command in a process of its own, which dies at a step of its work on files."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from omnijet import cli
from omnijet.runtime.files import disk

STEPS = frozenset({"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.truncate"})
"""Names of audit events that come before a change of names; `open` is told by its flags."""
CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
SWAP = "swap"
BROKEN = 70


@dataclass
class _Steps:
    """Counts steps, notes where the first swap is, and dies at one of them."""

    fatal: int | None
    count: int = 0
    swap: int = 0

    def step(self) -> None:
        self.count += 1
        if self.count == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event in STEPS or (event == "open" and isinstance(args[2], int) and args[2] & CHANGES):
            self.step()


def start(command: Sequence[str], said: Path, fatal: int | None, marks: Path | None = None) -> int:
    """Forks a process that runs `omnijet ...`; returns its number, which is that of its group.

    Args:
        said: a file for what it prints.
        fatal: the step before which it dies; None: it goes to the end.
        marks: a file for the number of its steps, and of that of the swap.
    """
    process = os.fork()
    if not process:
        _run(command, said, fatal, marks)
    return process


def _run(command: Sequence[str], said: Path, fatal: int | None, marks: Path | None) -> NoReturn:
    code = BROKEN
    try:
        os.setsid()
        descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        steps = _Steps(fatal)
        sys.addaudithook(steps.audit)
        _count(steps, os, "fsync")
        _count(steps, disk, "_renameat2")
        code = cli.main(list(command))
        count = steps.count
        if marks is not None:
            marks.write_text(f"{count} {steps.swap or count}")
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _count(steps: _Steps, module: Any, name: str) -> None:
    real: Callable[..., Any] = getattr(module, name)

    def counted(*args: Any) -> Any:
        if name != "fsync":
            steps.swap = steps.swap or steps.count
        steps.step()
        return real(*args)

    setattr(module, name, counted)
