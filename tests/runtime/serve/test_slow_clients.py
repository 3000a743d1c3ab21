"""Clients that send slowly, or nothing, are not waited for: a real server without a model."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.sync.client import connect

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.serve.config import ServeConfig
from omnijet.runtime.serve.gate.gate import Gate
from omnijet.runtime.serve.listening import listening
from omnijet.runtime.serve.server import Server

PATIENCE_S = 60.0


async def echo(request: Request) -> Response:
    return JSONResponse({"bytes": len(await request.body())})


async def repeat(ws: WebSocket) -> None:
    await ws.accept()
    try:
        while True:
            await ws.send_text(await ws.receive_text())
    except WebSocketDisconnect:
        pass


async def endless(request: Request) -> Response:
    async def zeros() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(1 << 16)
                await asyncio.sleep(0)
        finally:
            ENDED.set()

    return StreamingResponse(zeros())


ENDED = threading.Event()


@contextmanager
def serving(**settings: Any) -> Iterator[tuple[str, int]]:
    config = ServeConfig(drain_s=0, **settings)
    app = Starlette(
        routes=[
            Route("/v1/echo", echo, methods=["GET", "POST"]),
            WebSocketRoute("/v1/ws", repeat),
            Route("/v1/endless", endless),
        ],
        middleware=[Middleware(Gate, config, lambda path: False)],
    )
    listener = listening("127.0.0.1", 0)
    server, ended = Server(config, app), []
    thread = threading.Thread(
        target=lambda: ended.append(server.until_stopped(listener, lambda seconds: None))
    )
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        server.stop()
        thread.join(PATIENCE_S)
        listener.close()
    assert ended == [None], "the server does not end"


def received(raw: socket.socket) -> bytes:
    """Reads until the server closes the connection."""
    raw.settimeout(PATIENCE_S)
    found = b""
    try:
        while piece := raw.recv(4096):
            found += piece
    except ConnectionResetError:
        pass
    return found


def answered(raw: socket.socket, content: bytes) -> None:
    """Reads one answer."""
    found = b""
    while content not in found:
        piece = raw.recv(4096)
        assert piece, found
        found += piece
    assert found.startswith(b"HTTP/1.1 200")


HEAD = b"GET /v1/echo HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.mark.parametrize("sent", [b"", b"GET /v1/ec", HEAD, HEAD + b"X-Slow: "])
def test_a_head_that_does_not_come_closes_the_connection(sent: bytes) -> None:
    with serving(header_s=0.3) as address, socket.create_connection(address) as raw:
        raw.sendall(sent)
        assert received(raw) == b""


def test_a_head_that_drips_is_no_better() -> None:
    with serving(header_s=0.5) as address, socket.create_connection(address) as raw:
        began = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() < began + PATIENCE_S:
                raw.sendall(b"X")
                time.sleep(0.05)


def test_the_second_request_of_a_connection_has_the_same_limit() -> None:
    with serving(header_s=0.5) as address, socket.create_connection(address) as raw:
        raw.settimeout(PATIENCE_S)
        raw.sendall(HEAD + b"\r\n")
        answered(raw, b'{"bytes":0}')
        raw.sendall(HEAD)
        assert b"200 OK" not in received(raw)


def test_a_request_in_time_may_be_answered_late() -> None:
    """The limit is for the head alone: a slow body has its own, a connection may rest."""
    with serving(header_s=0.3) as address, socket.create_connection(address) as raw:
        raw.settimeout(PATIENCE_S)
        raw.sendall(
            HEAD.replace(b"GET", b"POST")
            + b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{"
        )
        time.sleep(0.6)  # longer than the head may take: nothing may happen meanwhile
        raw.sendall(b"}")
        answered(raw, b'{"bytes":2}')
        time.sleep(0.6)
        raw.sendall(HEAD + b"\r\n")
        answered(raw, b'{"bytes":0}')


def test_a_body_that_does_not_come_is_told() -> None:
    with serving(body_s=0.3) as address, socket.create_connection(address) as raw:
        raw.sendall(
            HEAD.replace(b"GET", b"POST")
            + b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        answer = received(raw)
        assert answer.startswith(b"HTTP/1.1 408") and b"connection: close" in answer.lower()


def test_a_large_head_is_refused() -> None:
    with serving() as address, socket.create_connection(address) as raw:
        raw.sendall(HEAD + b"X-Large: " + b"x" * 200_000)
        assert received(raw)[:12] in (b"HTTP/1.1 400", b"")


def test_a_socket_stays_open_and_takes_no_more_than_a_body() -> None:
    with (
        serving(header_s=0.3, body_bytes=2000, bodies_bytes=2000) as (host, port),
        connect(f"ws://{host}:{port}/v1/ws") as ws,
    ):
        time.sleep(0.6)  # longer than the head of a request may take
        ws.send("hello")
        assert ws.recv(PATIENCE_S) == "hello"
        ws.send("x" * 3000)
        with pytest.raises(Exception, match="1009"):
            ws.recv(PATIENCE_S)


def test_a_client_that_takes_nothing_of_its_answer_is_cut_off() -> None:
    ENDED.clear()
    with serving(send_s=0.3) as address, socket.create_connection(address) as raw:
        raw.sendall(HEAD.replace(b"echo", b"endless") + b"\r\n")
        assert ENDED.wait(PATIENCE_S), "what makes the answer waits for ever"


def test_a_client_that_takes_its_answer_slowly_is_waited_for() -> None:
    with serving(send_s=PATIENCE_S) as address, socket.create_connection(address) as raw:
        raw.settimeout(PATIENCE_S)
        raw.sendall(HEAD.replace(b"echo", b"endless") + b"\r\n")
        taken = 0
        while taken < 32 << 20:  # more than any buffer between holds
            time.sleep(0.001)
            piece = raw.recv(1 << 20)
            assert piece
            taken += len(piece)


def test_a_socket_whose_client_reads_no_answers_to_its_pings_is_cut_off() -> None:
    key = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    key += b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    ping = b"\x89\xfd\0\0\0\0" + bytes(125)
    with serving(send_s=0.3) as address, socket.create_connection(address) as raw:
        raw.settimeout(PATIENCE_S)
        raw.sendall(HEAD.replace(b"echo", b"ws") + key + b"\r\n")
        assert raw.recv(4096).startswith(b"HTTP/1.1 101")
        sent = 0
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            while sent < 256 << 20:
                raw.sendall(ping * 500)
                sent += 500 * len(ping)


def test_a_port_in_use_is_told() -> None:
    with serving() as (host, port), pytest.raises(OmnijetError, match="in use"):
        listening(host, port)


POST = HEAD.replace(b"GET", b"POST") + b"Content-Type: application/json\r\n"


def test_a_client_that_sends_too_much_sees_why() -> None:
    """It is still sending when the answer comes: the rest is read over, not kept."""
    with serving(body_bytes=2000) as address, socket.create_connection(address) as raw:
        raw.settimeout(PATIENCE_S)
        raw.sendall(POST + b"Content-Length: 10000000\r\n\r\n")
        for _ in range(100):
            raw.sendall(b"x" * 100_000)
        found = b""
        while b"request_too_large" not in found:
            piece = raw.recv(4096)
            assert piece, found
            found += piece
        assert found.startswith(b"HTTP/1.1 413")
        raw.sendall(HEAD + b"\r\n")  # the connection is as good as before
        answered(raw, b'{"bytes":0}')


def test_a_refused_request_that_goes_on_and_on_is_cut() -> None:
    with (
        serving(body_bytes=2000, body_s=0.3) as address,
        socket.create_connection(address) as raw,
        pytest.raises(OSError),
    ):
        raw.settimeout(PATIENCE_S)
        raw.sendall(POST + b"Content-Length: 100000000000\r\n\r\n")
        began = time.monotonic()
        while time.monotonic() < began + PATIENCE_S:
            raw.sendall(b"x" * 1000)
            time.sleep(0.01)


def test_too_many_connections_are_told() -> None:
    with serving(connections=2) as address:
        with (
            socket.create_connection(address) as first,
            socket.create_connection(address) as second,
        ):
            for raw in (first, second):
                raw.settimeout(PATIENCE_S)
                raw.sendall(HEAD + b"\r\n")
                answered(raw, b'{"bytes":0}')
            with socket.create_connection(address) as third:
                told = received(third)
                assert told.startswith(b"HTTP/1.1 503") and b"Retry-After: 2" in told
                assert b"busy_connections" in told
        with socket.create_connection(address) as again:
            again.settimeout(PATIENCE_S)
            deadline = time.monotonic() + PATIENCE_S
            again.sendall(HEAD + b"\r\n")
            while b"200" not in again.recv(4096)[:12]:
                assert time.monotonic() < deadline
