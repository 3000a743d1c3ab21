"""Runs a command of omnijet in a process of its own.

A step is a process because its memory goes back to the system with it (an exporter holds torch, a
calibration a whole model), because a step that is killed for want of memory takes nothing with it,
and because the commands are made to be killed: a run that is cut leaves what it had finished, and
the next one goes on with that.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from omnijet.runtime.bundle.finished import TAKEN_OVER
from omnijet.runtime.child.start import start
from omnijet.runtime.commands.progress_lines import LINES, VARIABLE
from omnijet.runtime.files.json_text import BadJson, parsed
from omnijet.runtime.files.printable import one_line
from omnijet.runtime.leftovers import leftover

MODULE = "omnijet.__main__"
MOST_LINE = 1 << 16
MOST_SAID = 400
MOST_RESULT_BYTES = 64 << 20

Progress = Callable[[str, int, int], None]
"""Receives (what, done, total); the total is 0 while it is not known."""
Said = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended.

    Attributes:
        code: its exit code; negative: the signal that killed it.
        result: its stdout.
        said: the last lines of its stderr, without progress.
        seconds: how long it ran.
        peak_bytes: the most memory that it, or one of its processes, had resident.
    """

    code: int
    result: str
    said: tuple[str, ...]
    seconds: float
    peak_bytes: int

    @property
    def took_over(self) -> tuple[str, ...]:
        """What the command found finished by one before it."""
        return tuple(line for line in self.said if TAKEN_OVER in line)


def run_verb(
    arguments: Sequence[str], scratch: Path, progress: Progress, said: Said,
    extra: Mapping[str, str] | None = None,
) -> Ran:  # fmt: skip
    """Runs `omnijet ARGUMENTS`, and passes on what it tells. It is killed with this process.

    Args:
        scratch: its folder for temporary files.
        extra: more of its environment.

    Raises:
        OSError: the process cannot be started, or the disk is full.
    """
    environment = {VARIABLE: LINES, "TMPDIR": str(scratch), **(extra or {})}
    began = time.monotonic()
    with (scratch / "stdout").open("w+b") as out:
        process = start(
            MODULE, *arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE,
            env=environment,
        )  # fmt: skip
        with leftover(process.kill):
            try:
                lines = _listen(process.stderr, progress, said)
                code, peak = _wait(process)
            except BaseException:
                # a kill, not a request to end: what is finished stays, as after a loss of power
                process.kill()
                process.wait()
                raise
        out.seek(0)
        result = out.read(MOST_RESULT_BYTES).decode("utf-8", "replace")
    return Ran(code, result, tuple(lines), time.monotonic() - began, peak)


def _listen(pipe: IO[bytes] | None, progress: Progress, said: Said) -> list[str]:
    assert pipe is not None
    kept: list[str] = []
    while raw := pipe.readline(MOST_LINE):
        line = raw.decode("utf-8", "replace").rstrip("\n")
        told = progress_of(line)
        if told is not None:
            progress(*told)
        elif line.strip():
            # of a traceback or an error, the end says most
            kept = [*kept, one_line(line)][-MOST_SAID:]
            said(one_line(line))
    return kept


def progress_of(line: str) -> tuple[str, int, int] | None:
    """Returns what a line of `omnijet.runtime.commands.progress_lines` says; None: it is none."""
    if not line.startswith('{"progress":'):
        return None
    try:
        fact = parsed(line)
    except BadJson:
        return None
    what, done, total = (fact.get(name) for name in ("progress", "done", "total"))
    if isinstance(what, str) and type(done) is int and type(total) is int:
        return one_line(what)[:80], done, total
    return None


def _wait(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    """Waits for the end; returns the exit code and the peak of resident memory in bytes."""
    _, status, usage = os.wait4(process.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    process.returncode = code
    return code, usage.ru_maxrss * 1024  # Linux has kB
