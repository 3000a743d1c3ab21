"""The gate to the GPU: while one run is captured, nobody else in this process uses it.

ONNX Runtime captures in CUDA's global mode: a copy, an allocation or a synchronization that another
thread makes meanwhile fails, and spoils the capture. Source: "Prohibited and Unhandled Operations"
in the CUDA programming guide; seen on an H100 (error 900).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

from omnijet.runtime.backends.device_call import device_call


class Gate:
    """Lets in many threads at once, or one alone. A thread inside must not enter again."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._inside = 0
        self._waiting_for_alone = 0  # these threads go first
        self._is_alone = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Enters together with others, once nobody is or wants to be inside alone."""
        with device_call():
            entered = False
            try:
                with self._changed:
                    while self._is_alone or self._waiting_for_alone:
                        self._changed.wait()
                    self._inside += 1
                    entered = True
                yield
            finally:
                if entered:
                    with self._changed:
                        self._inside -= 1
                        self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Enters once everybody else has left, and keeps others out."""
        with device_call():
            entered = False
            try:
                with self._changed:
                    self._waiting_for_alone += 1
                    try:
                        while self._is_alone or self._inside:
                            self._changed.wait()
                        self._is_alone = entered = True
                    finally:  # an interrupt ends the wait, too
                        self._waiting_for_alone -= 1
                        self._changed.notify_all()
                yield
            finally:
                if entered:
                    with self._changed:
                        self._is_alone = False
                        self._changed.notify_all()


GATE = Gate()
"""The gate of the process: every call of ours that reaches a device goes through it."""
