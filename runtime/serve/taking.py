"""Cuts connections of clients that take nothing of what is sent: uvicorn waits without an end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from omnijet.runtime.serve.config import ServeConfig


class Taking:
    """Cuts a connection when too much waits for its client for too long.

    A turn whose client takes nothing keeps its place and its caches: without this for ever.

    Args:
        seconds: from the moment when too much waits to that when the client has taken most of it.
        cut: ends the connection.
    """

    def __init__(self, seconds: float, cut: Callable[[], None]) -> None:
        self._seconds, self._cut = seconds, cut
        self._timer: asyncio.TimerHandle | None = None

    def waits(self) -> None:
        """Notes that too much waits for the client."""
        self.ends()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._cut)

    def ends(self) -> None:
        """Notes that the client has taken it, or has gone. Harmless if repeated."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def bounded_socket(config: ServeConfig) -> type[WebSocketsSansIOProtocol]:
    """Returns a protocol that neither waits for, nor listens to who takes nothing.

    Each ping is answered: the answers to a client that does not read them would pile up.
    """

    class Socket(WebSocketsSansIOProtocol):
        _taking: Taking | None = None

        def pause_writing(self) -> None:
            super().pause_writing()
            self.transport.pause_reading()
            if self._taking is None:
                self._taking = Taking(config.send_s, self.transport.abort)
            self._taking.waits()

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._taking is not None:
                self._taking.ends()
            if not self.read_paused:
                self.transport.resume_reading()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._taking is not None:
                self._taking.ends()
            super().connection_lost(exc)

    return Socket
