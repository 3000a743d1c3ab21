"""Progress as lines of JSON on stderr, for a command that another program has started.

The other program asks for it with `OMNIJET_PROGRESS=lines` in the environment. A line is
`{"progress": "writing weights", "done": 3, "total": 12}`; `total` is 0 as long as it is not known.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from rich.progress import Progress, TaskID

from omnijet.runtime.files.printable import json_line, show

VARIABLE, LINES = "OMNIJET_PROGRESS", "lines"
PAUSE_S = 0.2
"""Time between two lines about one thing; its end is told at once."""


def is_wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Returns whether whoever started this process reads lines."""
    return environment.get(VARIABLE) == LINES


class LineProgress(Progress):
    """Tells what a progress bar would draw."""

    def __init__(self) -> None:
        super().__init__(disable=True)
        self._told: dict[tuple[TaskID, str], float] = {}

    def update(self, task_id: TaskID, **changes: Any) -> None:
        super().update(task_id, **changes)
        self._tell(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._tell(task_id)

    def _tell(self, task_id: TaskID) -> None:
        task, now = self._tasks[task_id], time.monotonic()
        done, total = int(task.completed), int(task.total or 0)
        about = task_id, task.description
        is_end = 0 < total <= done
        if not is_end and now - self._told.get(about, -PAUSE_S) < PAUSE_S:
            return
        self._told[about] = now
        show(json_line({"progress": task.description, "done": done, "total": total}), sys.stderr)
        sys.stderr.flush()
