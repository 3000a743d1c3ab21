"""Who has the floor in a conversation: one call at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from omnijet.runtime.birthplace import Birthplace
from omnijet.runtime.errors import OmnijetError


class Floor:
    """Lets one call of a session run; the calls of other threads wait for their turn.

    Args:
        birthplace: of the session's model.
    """

    def __init__(self, birthplace: Birthplace) -> None:
        self._birthplace = birthplace
        self._free = threading.Lock()
        self._holder: int | None = None  # the thread

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Holds the floor during the block.

        Raises:
            OmnijetError: this thread has it already, as in a signal handler or a log handler that
                uses the session in the middle of its turn; or this process is a child.
        """
        self._birthplace.require_here()
        if self._holder == threading.get_ident():
            raise OmnijetError(
                "this session is in the middle of another call of the same thread",
                expected="one call at a time",
                fix="call it when the other has returned, or from another thread, which waits",
            )
        with self._free:
            self._holder = threading.get_ident()
            try:
                yield
            finally:
                self._holder = None
