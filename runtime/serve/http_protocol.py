"""HTTP of uvicorn with limits that it does not have: of time, and of connections."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from omnijet.runtime.serve.config import ServeConfig
from omnijet.runtime.serve.taking import Taking

FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nConnection: close\r\n"
    b"Content-Type: application/json\r\n"
)
_WORDS = (
    b'{"error":{"message":"too many connections","type":"server_error","param":null,'
    b'"code":"busy_connections"}}'
)


def bounded_protocol(config: ServeConfig) -> type[H11Protocol]:
    """Returns a protocol that closes connections whose next request does not come in time.

    The head may take `header_s`, from the connection, or from the first byte of a further request.
    What a client still sends of a request that was answered before is read over, for `body_s`: it
    would not see the answer if the connection was closed at once. A client that takes nothing of
    an answer is cut off after `send_s`.
    """

    class Timed(H11Protocol):
        _head_timer: asyncio.TimerHandle | None = None
        _rest_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._taking = Taking(config.send_s, transport.abort)
            if len(self.connections) > config.connections:
                length = f"Content-Length: {len(_WORDS)}\r\n\r\n".encode()
                transport.write(FULL + length + _WORDS)
                transport.close()
                return
            self._wait_for_head()

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            before = self.cycle
            if self._head_timer is None and (before is None or before.response_complete):
                self._wait_for_head()
            super().data_received(data)
            upgraded = self.transport.get_protocol() is not self
            if upgraded or (self.cycle is not None and not self.cycle.response_complete):
                self._stop_waiting()
            if self._rest_timer is not None and self.conn.their_state is not h11.SEND_BODY:
                self._rest_timer.cancel()
                self._rest_timer = None

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.conn.their_state is h11.SEND_BODY and self._rest_timer is None:
                self._rest_timer = self.loop.call_later(config.body_s, self.transport.abort)

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            if self._rest_timer is not None:
                self._rest_timer.cancel()
            self._taking.ends()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._taking.waits()

        def resume_writing(self) -> None:
            super().resume_writing()
            self._taking.ends()

        def _wait_for_head(self) -> None:
            self._head_timer = self.loop.call_later(config.header_s, self._too_late)

        def _stop_waiting(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

        def _too_late(self) -> None:
            self._head_timer = None
            idle = self.cycle is None or self.cycle.response_complete
            if idle and not self.transport.is_closing():
                self.transport.abort()

    return Timed
