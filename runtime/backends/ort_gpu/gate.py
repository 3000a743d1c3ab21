"""Who may use the GPU while a run is captured: nobody else in this process.

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
    """Many at once, or one alone. Whoever is inside must not enter again."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._inside = 0
        self._wanted = 0  # by those who want to be alone: they go first
        self._is_alone = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        entered = False
        try:
            with self._changed:
                while self._is_alone or self._wanted:
                    self._changed.wait()
                self._inside += 1
                entered = True
            with device_call():
                yield
        finally:
            if entered:
                with self._changed:
                    self._inside -= 1
                    self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        entered = False
        try:
            with self._changed:
                self._wanted += 1
                try:
                    while self._is_alone or self._inside:
                        self._changed.wait()
                    self._is_alone = entered = True
                finally:  # an interrupt ends the wait, too
                    self._wanted -= 1
                    self._changed.notify_all()
            with device_call():
                yield
        finally:
            if entered:
                with self._changed:
                    self._is_alone = False
                    self._changed.notify_all()


GATE = Gate()
"""Of the process: every call of ours that reaches a device goes through it."""
