"""The way of events from the threads of a conversation to its socket, within bounds."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from typing import Any

from omnijet.runtime.realtime.conversation import Gone

MOST_CHARACTERS = 4 << 20
"""Events that wait for a slow client; then the reply waits: a minute and a half of speech."""


class Outlet:
    """Takes events in threads and gives texts to a coroutine. Made in its event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = threading.Condition()
        self._texts: deque[str] = deque()
        self._size = 0
        self._is_shut = False
        self._waking = asyncio.Event()

    def put_last(self, event: dict[str, Any]) -> None:
        """Adds an event without waiting, and takes nothing more. Raises `Gone` once it is shut."""
        text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
        with self._changed:
            if self._is_shut:
                raise Gone
            self._texts.append(text)
            self._size += len(text)
        self.shut()

    def put(self, event: dict[str, Any]) -> None:
        """Adds an event; waits while too much waits. Raises `Gone` once it is shut."""
        text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
        with self._changed:
            self._changed.wait_for(lambda: self._size < MOST_CHARACTERS or self._is_shut)
            if self._is_shut:
                raise Gone
            self._texts.append(text)
            self._size += len(text)
        self._wake()

    async def take(self) -> str | None:
        """Waits for the next text; None once it is shut and empty."""
        while True:
            with self._changed:
                if self._texts:
                    text = self._texts.popleft()
                    self._size -= len(text)
                    self._changed.notify_all()
                    return text
                if self._is_shut:
                    return None
                self._waking.clear()
            await self._waking.wait()

    def shut(self) -> None:
        """Takes nothing more; what waits is still given. Harmless if repeated."""
        with self._changed:
            self._is_shut = True
            self._changed.notify_all()
        self._wake()

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._waking.set)
        except RuntimeError as error:  # the loop has ended
            self._is_shut = True
            raise Gone from error
