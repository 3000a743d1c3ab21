"""One switch that ends a piece of work, and the check that is made between its pieces.

A thread works under one switch at a time. A backend asks for it at each call, and lends it a flag
that ends the call: so cancelling needs not wait for the end of a call of many seconds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast

Check = Callable[[], None]
"""Called between pieces of work; raises to end the work."""


class Cancelled(Exception):
    """Ends work whose result nobody waits for any more."""


def never() -> None:
    """A check that never cancels."""


class Flag(Protocol):
    """What a backend looks at during its calls, as onnxruntime's `RunOptions`.

    Attributes:
        terminate: whether the calls are to end.
    """

    terminate: bool


class Cancellation:
    """One switch for all threads of a stream, or for the main thread.

    Args:
        raises: how the work learns that it was cancelled.
    """

    def __init__(self, raises: type[BaseException] = Cancelled) -> None:
        self.changed = threading.Condition()
        self.is_set = False
        self._raises = raises
        self._flag: Flag | None = None
        self._wakers: list[Callable[[], object]] = []

    def cancel(self) -> None:
        """Wakes every thread that waits, and ends every call that looks at the flag.

        Any thread may call it, more than once.
        """
        with self.changed:
            self.is_set = True
            if self._flag is not None:
                self._flag.terminate = True
            for wake in self._wakers:
                wake()
            self.changed.notify_all()

    def check(self) -> None:
        """Raises `Cancelled`, or what was chosen instead, once the switch is set."""
        if self.is_set:
            raise self._raises

    def flag(self, make: Callable[[], Flag]) -> Any:
        """Returns the flag of all calls under this switch; `make` makes it for the first one."""
        if self._flag is None:
            with self.changed:
                if self._flag is None:
                    made = make()
                    made.terminate = self.is_set
                    self._flag = made
        return self._flag

    @contextmanager
    def waking(self, wake: Callable[[], object]) -> Iterator[None]:
        """Has `wake` called when the switch is set during the block, or was set before.

        It is for threads that wait for something else than `changed`. `wake` must not block.
        """
        with self.changed:
            self._wakers.append(wake)
            if self.is_set:
                wake()
        try:
            yield
        finally:
            with self.changed:
                self._wakers.remove(wake)

    @contextmanager
    def governing(self) -> Iterator[None]:
        """Puts the calls of this thread under this switch."""
        before = here()
        _thread.cancellation = self
        try:
            yield
        finally:
            _thread.cancellation = before


def here() -> Cancellation | None:
    """Returns the switch that this thread works under."""
    return cast("Cancellation | None", getattr(_thread, "cancellation", None))


_thread = threading.local()
