"""An answer that a thread makes, while the event loop looks after the client."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from omnijet.runtime.assistant.busy import Busy
from omnijet.runtime.serve.bridge import Bridge
from omnijet.runtime.serve.faults import api_error

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Head:
    """What comes before the first byte: from here on the status is 200.

    Attributes:
        media_type: of what follows; after `text/event-stream` errors are told as events.
        headers: further ones.
    """

    media_type: str
    headers: tuple[tuple[str, str], ...] = ()


class Hands:
    """How many requests may have a thread at once; one event loop uses it.

    A turn that waits has a thread, so those that read their requests are a few more.
    """

    def __init__(self, most: int) -> None:
        self._free = most

    def take(self) -> None:
        """Takes one. Raises `Busy` if there is none."""
        if self._free <= 0:
            raise Busy("queue", "too many requests are in hand", 1)
        self._free -= 1

    def give(self) -> None:
        """Gives one back."""
        self._free += 1


class BridgedResponse(Response):
    """Sends what the thread of a bridge puts: a `Head`, then bytes.

    An error before the head is raised here, for the gate to answer. The bridge is left as soon as
    the client has gone.
    """

    def __init__(self, bridge: Bridge[Head | bytes], hands: Hands) -> None:
        super().__init__()
        self._bridge, self._hands = bridge, hands

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the answer: an ASGI application. Raises `Busy` if too many are in hand."""
        self._hands.take()
        try:
            await self._answer(scope, receive, send)
        finally:
            self._hands.give()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._bridge.start()
        sending = asyncio.ensure_future(self._send_all(scope, send))
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            self._bridge.leave()
            for task in (sending, gone):
                task.cancel()
            await asyncio.gather(sending, gone, return_exceptions=True)

    async def _send_all(self, scope: Scope, send: Send) -> None:
        head = await self._bridge.take()
        if not isinstance(head, Head):
            raise RuntimeError("a thread ended without an answer")
        headers = [(b"content-type", head.media_type.encode("latin-1"))]
        headers += [(name.encode("latin-1"), value.encode("latin-1"))
                    for name, value in head.headers]  # fmt: skip
        is_events = head.media_type == "text/event-stream"
        if is_events:
            headers.append((b"x-accel-buffering", b"no"))  # for nginx, which would collect them
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            while (piece := await self._bridge.take()) is not None:
                assert isinstance(piece, bytes)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except Exception as error:
            if not is_events:
                raise
            fault = api_error(error)
            if fault.status == 500:
                _log.exception("request %s failed", scope.get("state", {}).get("request_id"))
            told = json.dumps(fault.body()).encode()
            await send({"type": "http.response.body", "body": b"data: " + told + b"\n\n",
                        "more_body": True})  # fmt: skip
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    """Waits until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
