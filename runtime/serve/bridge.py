"""Leads what a thread makes to an event loop, no faster than it is taken there."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from omnijet.runtime.cancel import Cancelled

T = TypeVar("T")
ITEMS = 16  # that wait for the reader at most

_numbers = itertools.count(1)


class Gone(Exception):
    """Nobody reads any more."""


class Bridge(Generic[T]):
    """Runs `work` in a thread of its own and hands what it puts to a coroutine.

    Args:
        work: called in the thread with this bridge. It ends soon after `put` or `check` raised
            `Gone`.
        name: of the thread.
    """

    def __init__(self, work: Callable[[Bridge[T]], None], name: str = "turn") -> None:
        self._loop = asyncio.get_running_loop()
        self._work = work
        self._changed = threading.Condition()
        self._items: deque[T] = deque()
        self._is_ended = self._is_gone = False
        self._error: BaseException | None = None
        self._waking = asyncio.Event()
        self._on_gone: list[Callable[[], None]] = []
        self._thread = threading.Thread(
            target=self._run, name=f"omnijet-serve-{name}-{next(_numbers)}", daemon=True
        )

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    # -- the thread's side

    def put(self, item: T) -> None:
        """Waits for room and hands an item over. Raises `Gone`."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._items) < ITEMS or self._is_gone)
            self._require_reader()
            self._items.append(item)
        self._wake()

    def check(self) -> None:
        """Raises `Gone` if nobody reads any more."""
        with self._changed:
            self._require_reader()

    def when_gone(self, call: Callable[[], None]) -> None:
        """Has `call` called when nobody reads any more, in a thread of its own: it may block.

        If that is so already, it is called now. After the end of the work it is never called.
        """
        with self._changed:
            if not self._is_gone:
                self._on_gone.append(call)
                return
        call()

    def _require_reader(self) -> None:
        if self._is_gone:
            raise Gone

    def _run(self) -> None:
        try:
            self._work(self)
        except (Gone, Cancelled):
            pass
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:
                self._is_ended = True
                self._on_gone.clear()
            self._wake()

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._waking.set)
        except RuntimeError:  # the loop has ended
            self.leave()

    # -- the loop's side

    async def take(self) -> T | None:
        """Waits for the next item; None at the end. Raises what the work raised."""
        while True:
            with self._changed:
                if self._items:
                    item = self._items.popleft()
                    self._changed.notify_all()
                    return item
                if self._is_ended:
                    break
                self._waking.clear()
            await self._waking.wait()
        error, self._error = self._error, None
        if error is not None:
            raise error
        return None

    def leave(self) -> None:
        """Says that nobody reads any more. Harmless if repeated; it does not wait."""
        with self._changed:
            if self._is_gone:
                return
            self._is_gone = True
            self._items.clear()
            calls, self._on_gone = self._on_gone, []
            self._changed.notify_all()
        for call in calls:
            threading.Thread(target=call, name=f"{self._thread.name}-gone", daemon=True).start()
