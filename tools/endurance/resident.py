"""Memory and threads of the process; no garbage is collected for a reading."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
PROCESS = Path("/proc/self")


@dataclass(frozen=True, slots=True)
class Reading:
    """A reading after a number of turns.

    Attributes:
        turn: The number of turns so far.
        resident: Bytes in memory, mapped files included.
        mapped: Those of the resident bytes that lie in mapped files and shared memory.
        threads: The number of threads, those of libraries included.
    """

    turn: int
    resident: int
    mapped: int
    threads: int

    @staticmethod
    def take(turn: int) -> Reading:
        """Takes a reading now (`man proc_pid_statm`, fields 2 and 3)."""
        resident, mapped = (PROCESS / "statm").read_text().split()[1:3]
        return Reading(turn, int(resident) * PAGE_BYTES, int(mapped) * PAGE_BYTES, thread_count())


def thread_count() -> int:
    """Returns the number of threads that the system counts."""
    return len(list((PROCESS / "task").iterdir()))


def workers() -> list[str]:
    """Returns the names of the stream threads that still run."""
    return [t.name for t in threading.enumerate() if t.name.startswith("omnijet")]


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Waits for a condition and returns whether it came true in time."""
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.002)
    return met
