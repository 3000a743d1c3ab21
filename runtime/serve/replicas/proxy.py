"""What stands at the entrance, before Ray hands a request to a replica.

Ray drops a connection without a word when the replica behind it dies, and takes bodies of any size
into memory. Here clients are told, and bodies are cut off.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from omnijet.runtime.serve.replicas.front import HEADER

VARIABLE = "_OMNIJET_BODY_BYTES"
"""Names the variable with the bytes of the largest request."""
CALLBACK = f"{__name__}.middlewares"
OF_RAY = "/-/"
"""Begins the paths that Ray answers itself: `/-/healthz` and `/-/routes`."""
GONE = "no replica goes on with this conversation; send it again and another one does"
LOST = "replica_lost"
TOO_LARGE = "the body of the request is too large"
SERVICE_RESTART = 1012


def middlewares() -> list[Middleware]:
    """Returns what Ray puts around its entrance."""
    return [Middleware(Entrance, body_bytes=int(os.environ.get(VARIABLE, 32 << 20)))]


class Entrance:
    """Tells clients what became of a request that no replica has finished.

    Args:
        body_bytes: of the largest request.
    """

    def __init__(self, app: ASGIApp, body_bytes: int) -> None:
        self._app, self._body_bytes = app, body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on: an ASGI application."""
        if scope["type"] not in ("http", "websocket") or scope["path"].startswith(OF_RAY):
            await self._app(scope, receive, send)
            return
        passing = _Passing(receive, send, self._body_bytes)
        await self._app(scope, passing.receive, passing.send)
        if scope["type"] == "http":
            await passing.finish_http()
        else:
            await passing.finish_socket(scope)


@dataclass(slots=True)
class _Passing:
    """One request, and how far it has come."""

    _receive: Receive
    _send: Send
    _body_bytes: int
    _is_begun: bool = False
    _is_done: bool = False
    _is_left: bool = False  # by the client
    _is_too_large: bool = False
    _is_event_stream: bool = False
    _is_of_ray: bool = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] in ("http.disconnect", "websocket.disconnect"):
            self._is_left = True
        elif message["type"] == "http.request":
            self._body_bytes -= len(message.get("body", b""))
            if self._body_bytes < 0:
                self._is_too_large = True
                return {"type": "http.disconnect"}  # the replica hears no more of it
        return message

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind in ("http.response.start", "websocket.accept", "websocket.http.response.start"):
            headers = {bytes(name).lower(): value for name, value in message.get("headers", ())}
            self._is_of_ray = HEADER.encode() not in headers
            self._is_begun = not self._is_of_ray
            self._is_event_stream = headers.get(b"content-type", b"").startswith(b"text/event-")
        if self._is_of_ray:
            return  # that nobody is there: we say it better
        if kind in ("http.response.body", "websocket.http.response.body"):
            self._is_done = not message.get("more_body", False)
        if kind == "websocket.close":
            self._is_done = True
        await self._send(message)

    async def finish_http(self) -> None:
        if self._is_done or self._is_left:
            return
        if not self._is_begun:
            status = 413 if self._is_too_large else 503
            await _answer(self._send, "http.response", status)
        elif self._is_event_stream:  # all others end in the middle, which clients notice
            event = b"\n\ndata: " + json.dumps(_fault(503)).encode() + b"\n\n"
            await self._send({"type": "http.response.body", "body": event})

    async def finish_socket(self, scope: Scope) -> None:
        if self._is_done or self._is_left:
            return
        if self._is_begun:
            event = {"type": "error", "event_id": "event_lost", **_fault(503)}
            await self._send({"type": "websocket.send", "text": json.dumps(event)})
        elif "websocket.http.response" in scope.get("extensions", {}):
            await _answer(self._send, "websocket.http.response", 503)
            return
        await self._send(
            {"type": "websocket.close", "code": SERVICE_RESTART, "reason": "the replica has ended"}
        )


async def _answer(send: Send, kind: str, status: int) -> None:
    headers = [(b"content-type", b"application/json")]
    if status == 503:
        headers.append((b"retry-after", b"1"))
    await send({"type": f"{kind}.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.body", "body": json.dumps(_fault(status)).encode()})


def _fault(status: int) -> dict[str, Any]:
    """Returns what OpenAI's clients read of a fault."""
    if status == 413:
        kind, code, message = "invalid_request_error", "body_too_large", TOO_LARGE
    else:
        kind, code, message = "server_error", LOST, GONE
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
