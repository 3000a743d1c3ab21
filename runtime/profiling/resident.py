"""Measures the resident memory of this process before, during and after a scenario.

Source: /proc/self/status (VmRSS is the present size, VmHWM the peak). Writing 5 to
/proc/self/clear_refs resets the peak (proc(5)), so that each scenario has its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path("/")
SLACK = 8 << 20  # bytes that may come and go between reset and reading
Scope = Literal["scenario", "process", "unknown"]


@dataclass(frozen=True, slots=True)
class Resident:
    """Resident bytes; 0 where unknown.

    Attributes:
        scope: whether the peak is that of the scenario, or that of the process so far where the
            system does not reset it.
    """

    before: int
    after: int
    peak: int
    scope: Scope

    def __str__(self) -> str:
        """Returns the sizes in words."""
        if self.scope == "unknown":
            return "memory unknown"
        whole = "" if self.scope == "scenario" else " of the process so far"
        before, after, peak = (
            f"{count / 1e6:.0f}" for count in (self.before, self.after, self.peak)
        )
        return f"resident {before} MB before, {after} after, peak {peak} MB{whole}"

    @staticmethod
    def watch(root: Path = ROOT) -> Callable[[], Resident]:
        """Starts a measurement and returns the function that ends it.

        Args:
            root: the folder that contains /proc.
        """
        was_reset = _reset_peak(root)
        before, _ = memory_bytes(root)

        def end() -> Resident:
            after, peak = memory_bytes(root)
            scope: Scope = "scenario" if was_reset else "process"
            return Resident(before, after, peak, scope if peak else "unknown")

        return end


def memory_bytes(root: Path = ROOT) -> tuple[int, int]:
    """Returns this process's resident bytes, (now, peak so far); 0 where unknown."""
    try:
        status = (root / "proc/self/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0, 0
    found = [re.search(rf"{key}:\s+(\d+) kB", status) for key in ("VmRSS", "VmHWM")]
    now, peak = (1024 * int(match.group(1)) if match else 0 for match in found)
    return now, peak


def _reset_peak(root: Path) -> bool:
    """Resets the peak and returns whether that worked."""
    try:
        file = os.open(root / "proc/self/clear_refs", os.O_WRONLY)
        try:
            os.write(file, b"5")
        finally:
            os.close(file)
    except OSError:
        return False
    # some sandboxes accept the write and do nothing
    now, peak = memory_bytes(root)
    return 0 < peak < now + SLACK
