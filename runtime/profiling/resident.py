"""Resident memory of this process around a piece of work.

Source: /proc/self/status (VmRSS now, VmHWM the most so far); writing 5 to /proc/self/clear_refs
sets the most so far to now (proc(5)), so that each scenario has a peak of its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path("/")
SLACK = 8 << 20  # bytes that may come and go while the system answers
Scope = Literal["scenario", "process", "unknown"]


@dataclass(frozen=True, slots=True)
class Resident:
    """Bytes; 0 where unknown.

    Attributes:
        scope: what the peak is of: this scenario, or the process so far where the system does
            not let it be reset.
    """

    before: int
    after: int
    peak: int
    scope: Scope

    def __str__(self) -> str:
        """In words."""
        if self.scope == "unknown":
            return "memory unknown"
        whole = "" if self.scope == "scenario" else " of the process so far"
        before, after, peak = (
            f"{count / 1e6:.0f}" for count in (self.before, self.after, self.peak)
        )
        return f"resident {before} MB before, {after} after, peak {peak} MB{whole}"

    @staticmethod
    def watch(root: Path = ROOT) -> Callable[[], Resident]:
        """Begins; what it returns ends it.

        Args:
            root: where /proc is looked for.
        """
        was_reset = _reset_peak(root)
        before, _ = memory_bytes(root)

        def end() -> Resident:
            after, peak = memory_bytes(root)
            scope: Scope = "scenario" if was_reset else "process"
            return Resident(before, after, peak, scope if peak else "unknown")

        return end


def memory_bytes(root: Path = ROOT) -> tuple[int, int]:
    """Resident memory of this process, (now, peak so far); 0 where unknown."""
    try:
        status = (root / "proc/self/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0, 0
    found = [re.search(rf"{key}:\s+(\d+) kB", status) for key in ("VmRSS", "VmHWM")]
    now, peak = (1024 * int(match.group(1)) if match else 0 for match in found)
    return now, peak


def _reset_peak(root: Path) -> bool:
    """Whether the peak is now that of what follows."""
    try:
        file = os.open(root / "proc/self/clear_refs", os.O_WRONLY)
        try:
            os.write(file, b"5")
        finally:
            os.close(file)
    except OSError:
        return False
    # some sandboxes take the write and do nothing
    now, peak = memory_bytes(root)
    return 0 < peak < now + SLACK
