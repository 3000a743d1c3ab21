"""What stands before the application of a replica."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from omnijet.runtime.serve.replicas.front import GOING_AWAY, Answer, Front, Headers
from tests.runtime.serve.replicas.asgi import called, scope

NAME = (b"x-omnijet-replica", b"abc")


def front(app: Any) -> Front:
    async def everybody(own: Answer, headers: Headers) -> Answer:
        return Answer(own.status, own.headers, own.body + b" of all")

    return Front(app, "abc", everybody)


async def metrics(request: Request) -> PlainTextResponse:
    has_key = request.headers.get("authorization") == "Bearer key"
    return PlainTextResponse("page" if has_key else "who?", 200 if has_key else 401)


def test_an_answer_says_which_replica_it_is_from() -> None:
    app = Starlette(routes=[Route("/", lambda request: PlainTextResponse("hello"))])
    body: Message = {"type": "http.request", "body": b"", "more_body": False}
    start, _ = asyncio.run(called(front(app), scope("http"), [body]))
    assert start["status"] == 200 and NAME in start["headers"]


def test_the_page_of_all_metrics_needs_what_the_page_of_one_needs() -> None:
    app = front(Starlette(routes=[Route("/metrics", metrics)]))
    key = [(b"authorization", b"Bearer key")]
    start, body = asyncio.run(called(app, scope("http", "/metrics", headers=key), []))
    assert start["status"] == 200 and body["body"] == b"page of all"
    assert (b"content-length", b"11") in start["headers"]
    assert asyncio.run(app.ask("/metrics", [])).status == 401


def test_a_conversation_ends_when_the_replica_does() -> None:
    heard: list[int] = []

    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        asyncio.get_running_loop().call_soon(asked.end_sockets)
        try:
            await socket.receive_text()
        except WebSocketDisconnect as gone:
            heard.append(gone.code)

    asked = front(Starlette(routes=[WebSocketRoute("/", talk)]))

    opening: Message = {"type": "websocket.connect"}
    accept, close = asyncio.run(called(asked, scope("websocket"), [opening]))
    assert accept["type"] == "websocket.accept" and NAME in accept["headers"]
    assert close == {"type": "websocket.close", "code": GOING_AWAY} and heard == [GOING_AWAY]


def test_the_end_waits_for_answers_that_are_on_their_way() -> None:
    async def both() -> None:
        is_answered, is_asked, may_answer = False, asyncio.Event(), asyncio.Event()

        async def slow(request: Request) -> PlainTextResponse:
            nonlocal is_answered
            is_asked.set()
            await may_answer.wait()
            is_answered = True
            return PlainTextResponse("late")

        app = front(Starlette(routes=[Route("/", slow)]))
        body: Message = {"type": "http.request", "body": b"", "more_body": False}
        answering = asyncio.ensure_future(called(app, scope("http"), [body]))
        await is_asked.wait()
        await app.until_idle(0.1)  # no longer than that
        assert not is_answered
        asyncio.get_running_loop().call_soon(may_answer.set)
        await app.until_idle(30)
        assert is_answered
        await answering

    asyncio.run(both())
