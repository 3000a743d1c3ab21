"""One switch that ends a piece of work, and the check that every graph call makes first."""

from __future__ import annotations

import threading
from collections.abc import Callable

Check = Callable[[], None]
"""Called before every graph call; raises to end the work."""


class Cancelled(Exception):
    """Ends work whose result nobody waits for any more."""


def never() -> None:
    """A check that never cancels."""


class Cancellation:
    """One switch for all threads of a stream."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.is_set = False

    def cancel(self) -> None:
        """Wakes every thread that waits. Any thread may call it, more than once."""
        with self.changed:
            self.is_set = True
            self.changed.notify_all()

    def check(self) -> None:
        """Raises `Cancelled` once the switch is set."""
        if self.is_set:
            raise Cancelled
