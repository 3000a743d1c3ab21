"""Ctrl-C ends what the main thread does, also in the middle of a long graph call.

Python calls a signal's handler between two instructions of the main thread. A call of ONNX Runtime
is one instruction, and may take minutes. Therefore another thread learns of the signal, too
(`signal.set_wakeup_fd`), and cancels what the main thread works under.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from omnijet.runtime import leftovers
from omnijet.runtime.cancel import Cancellation

GRACE_S = 0.6
"""How long the main thread may take to notice a signal before the process is ended."""
_END = 0  # no signal has this number


@contextmanager
def interruptible(end_now: Callable[[], None] | None = None) -> Iterator[None]:
    """Makes the block end with `KeyboardInterrupt` soon after Ctrl-C, whatever it does.

    It does nothing in other threads than the main one, within another such block, and where
    somebody else handles Ctrl-C.

    Args:
        end_now: for a command, to which SIGTERM and SIGHUP mean the same, unless they are ignored.
            It must end the process. Another thread calls it if the main thread has not left the
            block in time, or if a second signal comes.
    """
    if threading.current_thread() is not threading.main_thread() or _Watch.is_on:
        yield
        return
    handlers = {signal.SIGINT: signal.getsignal(signal.SIGINT)}
    if handlers[signal.SIGINT] is not signal.default_int_handler:
        handlers = {}
    if end_now is not None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            if (handler := signal.getsignal(number)) != signal.SIG_IGN:  # as under nohup
                handlers[number] = handler
    if not handlers:
        yield
        return
    watch = _Watch(set(handlers), end_now)
    try:
        if end_now is not None:
            for number in handlers:
                signal.signal(number, watch.interrupt)
        with watch.cancellation.governing():
            yield
    except Exception as error:
        if watch.was_raised:  # an extension that was being imported made another error of it
            raise KeyboardInterrupt from error
        raise
    finally:
        watch.close()
        if end_now is not None:
            for number, handler in handlers.items():
                signal.signal(number, handler)


class _Watch:
    """A thread that learns of signals while the main thread is busy.

    Args:
        numbers: the signals.

    Attributes:
        cancellation: what the main thread works under.
        was_raised: whether `interrupt` was called.
    """

    is_on = False

    def __init__(self, numbers: set[int], end_now: Callable[[], None] | None) -> None:
        self.cancellation = Cancellation(KeyboardInterrupt)
        self._numbers, self._end_now = numbers, end_now
        self.was_raised, self._before = False, -1
        self._process = os.getpid()
        self._told, self._tells = socket.socketpair()
        self._tells.setblocking(False)
        self._thread = threading.Thread(target=self._watch, name="omnijet-signals", daemon=True)
        self._thread.start()
        _Watch.is_on = True
        self._before = signal.set_wakeup_fd(self._tells.fileno(), warn_on_full_buffer=False)

    def interrupt(self, number: int, frame: Any) -> None:
        """Raises `KeyboardInterrupt` in the main thread, once: a second one would cut clean-up."""
        if not self.was_raised:
            self.was_raised = True
            leftovers.interrupt()

    def close(self) -> None:
        """Ends the thread, unless that is ending the process."""
        if os.getpid() != self._process:
            return  # in a child, which has neither the thread nor the sockets for itself
        _Watch.is_on = False
        signal.set_wakeup_fd(self._before)
        with suppress(BlockingIOError):
            self._tells.send(bytes([_END]))
        self._thread.join()
        self._tells.close()
        self._told.close()

    def _watch(self) -> None:
        if not self._sees_signal(None):
            return
        self.cancellation.cancel()
        if self._end_now is None:
            while self._sees_signal(None):  # Python's own handler raises again
                pass
        elif self._sees_signal(GRACE_S):
            self._end_now()

    @classmethod
    def forget(cls) -> None:
        """Leaves the thread and its sockets to the parent: a child's signals are not for it."""
        if cls.is_on:
            cls.is_on = False
            signal.set_wakeup_fd(-1)

    def _sees_signal(self, seconds: float | None) -> bool:
        """Waits for a signal, or for as many seconds; returns False if the block ended instead."""
        self._told.settimeout(seconds)
        while True:
            try:
                numbers = self._told.recv(64)
            except TimeoutError:
                return True
            if self._before >= 0:
                with suppress(OSError):  # whoever was told before is told, too
                    os.write(self._before, numbers.replace(bytes([_END]), b""))
            if _END in numbers:
                return False
            if self._numbers.intersection(numbers):
                return True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Watch.forget)
