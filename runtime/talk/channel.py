"""A bounded queue between the threads of a stream, which either side can cancel."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from omnijet.runtime.cancel import Cancellation

T = TypeVar("T")


class Channel(Generic[T]):
    """A queue of at most `size` items; a full queue makes its writer wait (back-pressure).

    All channels of a stream wait on the condition of its cancellation, so that cancelling wakes
    every waiting thread.
    """

    def __init__(self, size: int, cancellation: Cancellation) -> None:
        self._size = size
        self._cancellation = cancellation
        self._items: deque[T] = deque()
        self._ended = False
        self._is_whole = False
        self._error: BaseException | None = None

    def put(self, item: T) -> None:
        """Waits for room and adds an item. Raises `Cancelled`."""
        changed = self._cancellation.changed
        with changed:
            changed.wait_for(lambda: len(self._items) < self._size or self._cancellation.is_set)
            self._cancellation.check()
            self._items.append(item)
            changed.notify_all()

    def end(self, error: BaseException | None = None) -> None:
        """Ends the channel. The reader gets an error before the items that it has not read."""
        with self._cancellation.changed:
            self._is_whole |= not self._ended and not self._cancellation.is_set
            self._ended = True
            self._error = self._error or error
            self._cancellation.changed.notify_all()

    @property
    def is_drained(self) -> bool:
        """Whether the writer ended it before any cancelling, and every item was taken."""
        with self._cancellation.changed:
            return self._is_whole and not self._items

    def take(self, most: int = 1) -> list[T]:
        """Waits for items and returns up to `most`; an empty list is the end.

        Raises:
            Cancelled: the stream was cancelled.
            BaseException: the error that the writer ended with.
        """
        changed = self._cancellation.changed
        with changed:
            changed.wait_for(lambda: self._items or self._ended or self._cancellation.is_set)
            self._cancellation.check()
            if self._error is not None:
                self._items.clear()
                error, self._error = self._error, None
                try:
                    raise error
                finally:  # the traceback refers to this frame: a cycle would keep the whole turn
                    del error
            taken = [self._items.popleft() for _ in range(min(most, len(self._items)))]
            changed.notify_all()
            return taken
