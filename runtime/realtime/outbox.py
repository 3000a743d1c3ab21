"""The way of server events to the client: one after another, each with an id."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from omnijet.runtime.realtime.fault import Fault
from omnijet.runtime.realtime.ids import new_id

ServerEvent = dict[str, Any]
Send = Callable[[ServerEvent], None]
"""Passes an event to the client, from any thread. It may block while the client is slow; it raises
`Gone` when the client has left."""


class Gone(Exception):
    """The client has left: nobody reads events any more."""


def always() -> bool:
    """Wants an event."""
    return True


class Outbox:
    """Sends events in one order for all threads.

    Args:
        send: see `Send`.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._sending = threading.Lock()
        self._is_shut = False

    def send(self, type: str, wanted: Callable[[], bool] = always, **fields: Any) -> bool:
        """Sends an event.

        Args:
            wanted: looked at when nothing else is being sent: False keeps the event back.

        Returns:
            Whether it was sent.

        Raises:
            Gone: the client has left.
        """
        with self._sending:
            if self._is_shut:
                raise Gone
            if not wanted():
                return False
            try:
                self._send({"type": type, "event_id": new_id("event"), **fields})
            except Gone:
                self._is_shut = True
                raise
            return True

    def fault(self, fault: Fault, event_id: str | None = None) -> None:
        """Sends an `error` event."""
        self.send("error", error=fault.wire(event_id))

    def settle(self) -> None:
        """Waits for the event that is being sent; those after it see what changed before."""
        with self._sending:
            pass

    def shut(self) -> None:
        """Sends nothing more: `send` raises `Gone`."""
        self._is_shut = True
