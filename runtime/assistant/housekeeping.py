"""The thread that looks after what is due: late turns, idle caches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

LONGEST_PAUSE_S = 3600.0

Sweep = Callable[[float], float | None]
"""Does what is due at a moment of `time.monotonic`; returns the next such moment."""


class Housekeeping:
    """Calls `sweep` when something is due. The thread starts at the first `wake`.

    Threads: any thread may call any method; `sweep` must not call `close`.
    """

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_woken = self._is_closed = False

    def wake(self) -> None:
        """Has the thread look again: something may be due earlier than it knows."""
        with self._changed:
            self._is_woken = True
            self._changed.notify()
            if self._thread is None and not self._is_closed:
                self._thread = threading.Thread(
                    target=self._run, name="omnijet-housekeeping", daemon=True
                )
                self._thread.start()

    def close(self) -> None:
        """Ends the thread and waits for it. Harmless if repeated."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            due = self._sweep(time.monotonic())
            pause = LONGEST_PAUSE_S if due is None else due - time.monotonic()
            with self._changed:
                self._changed.wait_for(
                    lambda: self._is_woken or self._is_closed, min(pause, LONGEST_PAUSE_S)
                )
                self._is_woken = False
                if self._is_closed:
                    return
