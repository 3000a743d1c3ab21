"""Whether a thread is in a call that others wait for.

The garbage collector may end a stream in the midst of anything; there it must not wait for threads
that want to make such a call, too.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_here = threading.local()


@contextmanager
def device_call() -> Iterator[None]:
    """The calling thread is in one, also within another."""
    before = in_device_call()
    _here.is_in = True
    try:
        yield
    finally:
        _here.is_in = before


def in_device_call() -> bool:
    return getattr(_here, "is_in", False)
