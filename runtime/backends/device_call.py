"""The mark of a thread that is in a call that other threads wait for.

The garbage collector may end a stream in the middle of any code. In the middle of such a call it
must not wait for the stream's workers, which may want to make such a call themselves. The
duties of a backend are listed in `omnijet.runtime.backends.protocol`.
"""

from __future__ import annotations

import threading
from types import TracebackType

_here = threading.local()


class device_call:
    """Marks the calling thread as being in a device call; calls may be nested."""

    __slots__ = ("_outer",)

    def __enter__(self) -> None:
        self._outer = in_device_call()
        _here.is_inside = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _here.is_inside = self._outer


def in_device_call() -> bool:
    """Returns whether the calling thread is in a device call."""
    return getattr(_here, "is_inside", False)
