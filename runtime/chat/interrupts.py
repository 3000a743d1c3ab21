"""Ctrl-C as news of a chat, where a terminal sends it as a signal."""

from __future__ import annotations

import signal
import threading
from types import TracebackType
from typing import Any

from omnijet.runtime import leftovers
from omnijet.runtime.chat.transport import Interrupt, Put


class Interrupts:
    """Puts `Interrupt` for SIGINT in a `with` block of the main thread.

    If a second one comes before the first was read (`read`), it raises `KeyboardInterrupt` as
    ever. Other signals are left as they are, and SIGINT too where it is ignored.
    """

    def __init__(self, put: Put) -> None:
        self._put = put
        self._waits = False
        self._before: Any = None
        self._watcher = -1

    def read(self) -> None:
        """Notes that an `Interrupt` was read."""
        self._waits = False

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is not threading.main_thread():
            return self
        before = signal.getsignal(signal.SIGINT)
        if before is not signal.SIG_IGN and before is not None:
            self._before = before
            # whoever watches signals would take it for the end of this process
            self._watcher = signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGINT, self._heed)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            signal.set_wakeup_fd(self._watcher)

    def _heed(self, number: int, frame: Any) -> None:
        if self._waits:
            leftovers.interrupt()
        self._waits = True
        self._put(Interrupt())  # a queue that a handler may put into
