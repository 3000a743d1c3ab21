"""One process that tries inputs, and what became of each."""

from __future__ import annotations

import logging
import os
import resource
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Literal

from omnijet.runtime.errors import OmnijetError

ADDRESS_SPACE_BYTES = 8 << 30  # a demand for more is a MemoryError, and spares the machine

End = Literal["taken", "refused", "traceback", "hang", "crash", "memory"]


@dataclass(frozen=True, slots=True)
class Job:
    """One input: its kind and its number, from which it is made again."""

    kind: str
    index: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job.

    Attributes:
        peak_bytes: memory of the process at its largest while the job ran.
        detail: the traceback, or the end of what was written on stderr.
    """

    job: Job
    end: End
    seconds: float
    peak_bytes: int = 0
    detail: str = ""


def work(pipe: Connection, bundle: Path, seed: int, errors: Path) -> None:
    """Does jobs until the pipe closes or None arrives."""
    descriptor = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(descriptor, 2)  # libraries in C write there
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_DATA, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    from tools.fuzz.kinds import KINDS, Bench  # heavy: after the fork or spawn

    with tempfile.TemporaryDirectory(prefix="omnijet-fuzz-") as scratch:
        bench = Bench(bundle, Path(scratch))
        tries = {name: kind(bench) for name, kind in KINDS.items()}
        pipe.send(None)  # ready
        while (job := pipe.recv()) is not None:
            _forget_peak()
            began = time.perf_counter()
            end, detail = _tried(tries[job.kind], Random(f"{seed} {job.kind} {job.index}"))
            pipe.send(Outcome(job, end, time.perf_counter() - began, _peak(), detail))


def _tried(attempt: object, rng: Random) -> tuple[End, str]:
    try:
        attempt(rng)  # type: ignore[operator]
    except OmnijetError:
        return "refused", ""
    except BaseException:
        return "traceback", traceback.format_exc()
    return "taken", ""


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    return 0
