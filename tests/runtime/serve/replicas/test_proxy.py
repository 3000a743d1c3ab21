"""What clients are told when the replica behind the entrance ends, or a body is too large."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from omnijet.runtime.serve.replicas.proxy import LOST, SERVICE_RESTART, Entrance
from tests.runtime.serve.replicas.asgi import called, scope

NAME = (b"x-omnijet-replica", b"abc")
START: Message = {"type": "http.response.start", "status": 200, "headers": [NAME]}
OF_EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
OF_TEXT = (b"content-type", b"text/plain")
EVENTS: Message = {**START, "headers": [NAME, OF_EVENTS]}
PART: Message = {"type": "http.response.body", "body": b'data: {"x', "more_body": True}
END: Message = {"type": "http.response.body", "body": b"", "more_body": False}
ACCEPT: Message = {"type": "websocket.accept", "headers": [NAME]}
BODY: Message = {"type": "http.request", "body": b"0123456789", "more_body": False}


def ends_after(*messages: Message) -> ASGIApp:
    """Returns an application that sends these and ends: what Ray does when a replica dies."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        for message in messages:
            await send(message)

    return app


def through(app: ASGIApp, given: Scope, *messages: Message, most: int = 100) -> list[Message]:
    return asyncio.run(called(Entrance(app, most), given, messages))


def code(body: bytes) -> str:
    return str(json.loads(body)["error"]["code"])


def test_a_request_that_nobody_answered_may_be_sent_again() -> None:
    start, body = through(ends_after(), scope("http"), BODY)
    assert start["status"] == 503 and (b"retry-after", b"1") in start["headers"]
    assert code(body["body"]) == LOST and not body.get("more_body")


def test_a_stream_of_events_ends_with_a_fault() -> None:
    *before, last = through(ends_after(EVENTS, PART), scope("http"), BODY)
    assert before == [EVENTS, PART] and not last.get("more_body")
    torn, event, rest = (PART["body"] + last["body"]).split(b"\n\n")
    assert torn == b'data: {"x' and rest == b""
    assert code(event.removeprefix(b"data: ")) == LOST


def test_any_other_stream_stays_torn() -> None:
    # an end would make half a sound look whole; without one, HTTP itself says that it is torn
    assert through(ends_after(START, PART), scope("http"), BODY) == [START, PART]


def test_a_conversation_is_told_why_it_ends() -> None:
    given = scope("websocket")
    _, event, close = through(ends_after(ACCEPT), given, {"type": "websocket.connect"})
    said = json.loads(event["text"])
    assert said["type"] == "error" and said["error"]["code"] == LOST
    assert close["type"] == "websocket.close" and close["code"] == SERVICE_RESTART


@pytest.mark.parametrize("can_say_more", [True, False])
def test_a_conversation_that_was_not_opened_is_refused(can_say_more: bool) -> None:
    extensions: dict[str, Any] = {"websocket.http.response": {}} if can_say_more else {}
    given = scope("websocket", extensions=extensions)
    first, *_ = through(ends_after(), given, {"type": "websocket.connect"})
    if can_say_more:
        assert first["type"] == "websocket.http.response.start" and first["status"] == 503
    else:
        assert first["type"] == "websocket.close" and first["code"] == SERVICE_RESTART


@pytest.mark.parametrize(
    ("kind", "messages"),
    [
        ("http", [START, PART, END]),
        ("websocket", [ACCEPT, {"type": "websocket.close", "code": 1000}]),
        ("websocket", [{"type": "websocket.close", "code": 1008}]),
    ],
)
def test_what_is_whole_is_left_alone(kind: str, messages: list[Message]) -> None:
    opening = BODY if kind == "http" else {"type": "websocket.connect"}
    assert through(ends_after(*messages), scope(kind), opening) == messages


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_a_client_that_has_left_is_told_nothing(kind: str) -> None:
    assert through(ends_after(), scope(kind), {"type": f"{kind}.disconnect", "code": 1005}) == []


def test_what_ray_says_itself_is_said_for_programs() -> None:
    """Ray answers 404 in plain text while the replicas end, and after."""
    of_ray: list[Message] = [{**START, "status": 404, "headers": [OF_TEXT]}, {**END, "body": b"x"}]
    start, body = through(ends_after(*of_ray), scope("http"), BODY)
    assert start["status"] == 503 and (b"retry-after", b"1") in start["headers"]
    assert code(body["body"]) == LOST
    assert through(ends_after(*of_ray), scope("http", "/-/healthz"), BODY) == of_ray


def test_a_body_is_cut_off() -> None:
    taken: list[Message] = []

    async def reads_all(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            taken.append(await receive())
            if taken[-1]["type"] == "http.disconnect":
                return

    parts = [{**BODY, "more_body": True} for _ in range(12)]
    start, body = through(reads_all, scope("http"), *parts, most=100)
    assert start["status"] == 413 and code(body["body"]) == "body_too_large"
    assert [one["type"] for one in taken] == ["http.request"] * 10 + ["http.disconnect"]
