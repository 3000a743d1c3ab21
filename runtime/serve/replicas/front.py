"""What stands before the application of a replica: its name, everybody's metrics, the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "x-omnijet-replica"
GOING_AWAY = 1001
METRICS = "/metrics"
TICK_S = 0.02

Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Answer:
    """An answer that was not sent.

    Attributes:
        status: of HTTP.
        headers: of HTTP.
        body: all of it.
    """

    status: int = 500
    headers: Headers = field(default_factory=list)
    body: bytes = b""

    @property
    def response(self) -> Response:
        """What sends it."""
        made = Response(self.body, self.status)
        made.raw_headers = [pair for pair in self.headers if pair[0] != b"content-length"]
        made.headers["content-length"] = str(len(self.body))
        return made


class Front:
    """An ASGI application around that of the server. It belongs to one event loop.

    Args:
        app: the server's.
        name: of the replica; a header of every answer says it.
        everybody: makes the page of metrics of all replicas of this replica's own answer.
    """

    def __init__(
        self, app: ASGIApp, name: str, everybody: Callable[[Answer, Headers], Awaitable[Answer]]
    ) -> None:
        self._app, self._name, self._everybody = app, name, everybody
        self._sockets: set[asyncio.Event] = set()
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on: an ASGI application."""
        if scope["type"] == "websocket":
            await self._socket(scope, receive, self._named(send))
        elif scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] == METRICS and scope["method"] == "GET":
            headers = list(scope["headers"])
            answer = await self._everybody(await self.ask(METRICS, headers), headers)
            await answer.response(scope, receive, self._named(send))
        else:
            with self._counted():
                await self._app(scope, receive, self._named(send))

    async def ask(self, path: str, headers: Headers) -> Answer:
        """Returns what the application answers to a GET."""
        scope: Scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
            "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
            "root_path": "", "headers": headers, "client": None, "server": None,
        }  # fmt: skip
        answer, is_asked = Answer(), False

        async def receive() -> Message:
            nonlocal is_asked
            if is_asked:
                await asyncio.Event().wait()  # a client that stays
            is_asked = True
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status, answer.headers = message["status"], list(message["headers"])
            elif message["type"] == "http.response.body":
                answer.body += message.get("body", b"")

        await self._app(scope, receive, send)
        return answer

    async def until_idle(self, seconds: float) -> None:
        """Waits until every answer has been sent, but no longer."""
        deadline = asyncio.get_running_loop().time() + seconds
        while self._requests and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(TICK_S)

    def end_sockets(self) -> None:
        """Ends every conversation over a WebSocket: its client is told that we go away."""
        for ended in self._sockets:
            ended.set()

    def _named(self, send: Send) -> Send:
        async def named(message: Message) -> None:
            if message["type"] in (
                "http.response.start", "websocket.accept", "websocket.http.response.start"
            ):  # fmt: skip
                message.setdefault("headers", [])
                MutableHeaders(scope=message)[HEADER] = self._name
            await send(message)

        return named

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        ended, is_open = asyncio.Event(), False

        async def watched() -> Message:
            given, end = asyncio.ensure_future(receive()), asyncio.ensure_future(ended.wait())
            await asyncio.wait({given, end}, return_when=asyncio.FIRST_COMPLETED)
            end.cancel()
            if given.done():
                return given.result()
            given.cancel()
            return {"type": "websocket.disconnect", "code": GOING_AWAY, "reason": ""}

        async def noted(message: Message) -> None:
            nonlocal is_open
            is_open = message["type"] in ("websocket.accept", "websocket.send")
            if not ended.is_set():
                await send(message)

        self._sockets.add(ended)
        try:
            await self._app(scope, watched, noted)
        finally:
            self._sockets.discard(ended)
            if ended.is_set() and is_open:
                await send({"type": "websocket.close", "code": GOING_AWAY})
