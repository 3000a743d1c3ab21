"""How much a request may hold, and how long it may take to come."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import Message, Receive

from omnijet.runtime.serve.config import ServeConfig
from omnijet.runtime.serve.faults import ApiError

CLOSE = {"Connection": "close"}  # what was not read of a body is no next request


class Bodies:
    """The bodies of all requests that are held. One event loop uses it."""

    def __init__(self, config: ServeConfig) -> None:
        self.config = config
        self._held = 0

    def hold(self, count: int) -> None:
        """Notes bytes that came. Raises `ApiError` if all requests hold too much together."""
        if self._held + count > self.config.bodies_bytes:
            raise ApiError(
                503,
                "the requests of all clients are too large together",
                code="busy_bodies",
                headers={"Retry-After": "2"},
            )
        self._held += count

    def let_go(self, count: int) -> None:
        """Notes that bytes are not held any more."""
        self._held -= count


class BoundedBody:
    """Receives the body of one request within the limits."""

    def __init__(self, bodies: Bodies, headers: Headers, receive: Receive) -> None:
        self._bodies, self._receive = bodies, receive
        self._most = bodies.config.body_bytes
        self._read = 0
        self._is_whole = False
        self._deadline = asyncio.get_running_loop().time() + bodies.config.body_s
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdecimal()):
            raise ApiError(400, "Content-Length is no number", headers=dict(CLOSE))
        if len(length) > 18 or int(length) > self._most:
            raise self._too_large()

    async def __call__(self) -> Message:
        """Waits for the next piece, as ASGI's `receive`.

        Raises:
            ApiError: it is too large or came too late.
        """
        if self._is_whole:  # what comes now is that the client has gone
            return await self._receive()
        left = self._deadline - asyncio.get_running_loop().time()
        try:
            message = await asyncio.wait_for(self._receive(), max(left, 0))
        except asyncio.TimeoutError:
            seconds = self._bodies.config.body_s
            raise ApiError(
                408, f"the request did not come whole within {seconds:g} s", headers=dict(CLOSE)
            ) from None
        if message["type"] != "http.request":
            return message
        count = len(message.get("body", b""))
        if self._read + count > self._most:
            raise self._too_large()
        self._bodies.hold(count)
        self._read += count
        self._is_whole = not message.get("more_body", False)
        return message

    def close(self) -> None:
        """Lets go of what was read."""
        self._bodies.let_go(self._read)
        self._read = 0

    def _too_large(self) -> ApiError:
        return ApiError(
            413, f"the request is larger than {self._most:,} bytes", code="request_too_large"
        )  # fmt: skip
