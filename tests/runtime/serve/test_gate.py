"""What may not pass the gate: names, origins, keys, types, sizes, slow bodies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket

from omnijet.runtime.assistant.busy import Busy
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.serve.config import ServeConfig
from omnijet.runtime.serve.gate.gate import Gate

HERE = "http://127.0.0.1:8000"
KEY = "sesame-street"
FAULTS = {
    "queue": Busy("queue", "too many wait", 7),
    "closing": Busy("closing", "the assistant ends", 5),
    "user": OmnijetError("the picture is odd", where="/secret/path", expected="a square", got="it"),
    "bug": ValueError("the secret of the server"),
    "memory": MemoryError(),
}


async def echo(request: Request) -> Response:
    return JSONResponse({"bytes": len(await request.body())})


async def fail(request: Request) -> Response:
    raise FAULTS[request.path_params["kind"]]


async def socket(ws: WebSocket) -> None:
    await ws.accept()
    await ws.send_text("hello")
    await ws.close()


def gated(**settings: Any) -> Starlette:
    routes = [
        Route("/health", echo),
        Route("/v1/echo", echo, methods=["GET", "POST"]),
        Route("/v1/form", echo, methods=["POST"]),
        Route("/v1/fail/{kind}", fail),
        WebSocketRoute("/v1/realtime", socket),
    ]
    gate = Middleware(
        Gate, ServeConfig(**settings), lambda path: path == "/health", frozenset({"/v1/form"})
    )
    return Starlette(routes=routes, middleware=[gate])


def ask(
    gate: Starlette, method: str = "GET", path: str = "/v1/echo", base: str = HERE, **options: Any
) -> httpx.Response:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(gate)
        async with httpx.AsyncClient(transport=transport, base_url=base) as client:
            return await client.request(method, path, **options)

    return asyncio.run(asked())


def code_of(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.json()["error"]["code"]


# -- names


@pytest.mark.parametrize("name", ["127.0.0.1:8000", "localhost", "[::1]:8000", "127.0.0.7:1"])
def test_loopback_names_pass(name: str) -> None:
    assert ask(gated(), headers={"Host": name}).status_code == 200


@pytest.mark.parametrize(
    "name", ["evil.example", "127.0.0.1.evil.example", "192.168.1.5:8000", "localhost.evil.example"]
)
def test_a_name_that_somebody_else_made_lead_here_is_refused(name: str) -> None:
    """DNS rebinding: the browser would take us for a part of that page."""
    assert code_of(ask(gated(), headers={"Host": name})) == (403, "unknown_host")
    assert ask(gated(hosts=("*",)), headers={"Host": name}).status_code == 200
    listed = (name.split(":")[0],)
    assert ask(gated(hosts=listed), headers={"Host": name}).status_code == 200


def test_a_server_for_others_answers_to_names_only_it_has() -> None:
    open_ = gated(host="0.0.0.0")
    assert ask(open_, headers={"Host": "192.168.1.5:8000"}).status_code == 200
    assert code_of(ask(open_, headers={"Host": "evil.example"})) == (403, "unknown_host")
    keyed, header = gated(host="0.0.0.0", api_key=KEY), {"Authorization": f"Bearer {KEY}"}
    assert ask(keyed, headers={"Host": "any.example", **header}).status_code == 200
    listed = gated(host="0.0.0.0", api_key=KEY, hosts=("mine.example",))
    assert ask(listed, headers={"Host": "MINE.example", **header}).status_code == 200
    assert ask(listed, headers={"Host": "any.example", **header}).status_code == 403


@pytest.mark.parametrize("name", ["", "a b", "user@127.0.0.1", "127.0.0.1:port", "http://a"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    assert code_of(ask(gated(), headers={"Host": name})) == (400, "bad_host")


# -- origins


def test_pages_of_others_are_refused_unless_listed() -> None:
    gate = gated(cors=("https://app.example",))
    for origin in ("https://evil.example", "null", "https://app.example.evil.example",
                   "http://app.example", "http://127.0.0.1:9000"):  # fmt: skip
        assert code_of(ask(gate, headers={"Origin": origin})) == (403, "bad_origin"), origin
    answer = ask(gate, headers={"Origin": "https://app.example"})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "Origin" in answer.headers["vary"]


def test_its_own_page_may_call_it() -> None:
    answer = ask(gated(), headers={"Origin": HERE})
    assert answer.status_code == 200 and "access-control-allow-origin" not in answer.headers
    assert ask(gated(), headers={"Origin": "https://127.0.0.1:8000"}).status_code == 200


def test_a_browser_that_asks_first_is_answered_without_a_key() -> None:
    asks = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type",
    }
    gate = gated(cors=("https://app.example",), api_key=KEY)
    answer = ask(gate, "OPTIONS", headers=asks)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert answer.headers["access-control-allow-headers"] == "authorization, content-type"
    asks["Origin"] = "https://evil.example"
    refused = ask(gate, "OPTIONS", headers=asks)
    assert refused.status_code == 403 and "access-control-allow-origin" not in refused.headers
    assert ask(gated(cors=("*",)), headers={"Origin": "null"}).headers[
        "access-control-allow-origin"
    ] == "*"  # fmt: skip


# -- keys


def test_the_key_is_needed_and_compared_whole() -> None:
    gate = gated(api_key=KEY)
    for header in ({}, {"Authorization": f"Basic {KEY}"}, {"Authorization": KEY}):
        assert code_of(ask(gate, headers=header)) == (401, "invalid_api_key")
    for wrong in (KEY[:-1], KEY + "x", KEY.upper(), "", "ü"):
        header = {"Authorization": f"Bearer {wrong}".encode()}
        answer = ask(gate, headers=header)
        assert code_of(answer) == (401, "invalid_api_key") and KEY not in answer.text
        assert answer.headers["www-authenticate"] == "Bearer"
    assert ask(gate, headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
    assert ask(gate, headers={"Authorization": f"bearer  {KEY} "}).status_code == 200


def test_health_needs_no_key_but_paths_like_it_do() -> None:
    gate = gated(api_key=KEY)
    assert ask(gate, path="/health").status_code == 200
    for path in ("/health/", "//health", "/nothing", "/HEALTH"):
        assert ask(gate, path=path).status_code == 401, path


def test_the_comparison_takes_as_long_whatever_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    from omnijet.runtime.serve.gate import key

    compared = []

    def compare(given: bytes, wanted: bytes) -> bool:
        compared.append((given, wanted))
        return given == wanted

    monkeypatch.setattr(key.hmac, "compare_digest", compare)
    ask(gated(api_key=KEY), headers={"Authorization": "Bearer guess"})
    assert compared == [(b"guess", KEY.encode())]


# -- sockets


def opened(
    gate: Starlette,
    headers: dict[str, str] | None = None,
    protocols: list[str] | None = None,
    base: str = "127.0.0.1:8000",
) -> int:
    """Opens a socket; returns 101, or the status that refuses it."""
    client = TestClient(gate)
    try:
        with client.websocket_connect(
            f"ws://{base}/v1/realtime", subprotocols=protocols, headers=headers or {}
        ) as ws:
            assert ws.receive_text() == "hello"
            return 101
    except WebSocketDenialResponse as refused:
        return refused.status_code


def test_a_socket_passes_the_same_gate() -> None:
    keyed = gated(api_key=KEY)
    assert opened(gated()) == 101
    assert opened(keyed, {"Authorization": f"Bearer {KEY}"}) == 101
    assert opened(keyed, None, ["realtime", f"openai-insecure-api-key.{KEY}"]) == 101
    assert opened(keyed) == 401
    assert opened(keyed, None, ["realtime", "openai-insecure-api-key.wrong"]) == 401
    assert opened(gated(), {"Origin": HERE}) == 101
    assert opened(gated(), {"Origin": "https://evil.example"}) == 403
    assert opened(gated(), base="evil.example") == 403


# -- bodies


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_what_a_page_may_send_without_asking_first_is_refused(kind: str) -> None:
    answer = ask(gated(), "POST", content=b"{}", headers={"Content-Type": kind})
    assert code_of(answer) == (415, "unsupported_media_type")
    is_form = kind.startswith("multipart")
    form = ask(gated(), "POST", "/v1/form", content=b"{}", headers={"Content-Type": kind})
    assert form.status_code == (200 if is_form else 415)


def posted(gate: Starlette, content: Any, **headers: str) -> httpx.Response:
    return ask(gate, "POST", content=content,
               headers={"Content-Type": "application/json; charset=utf-8", **headers})  # fmt: skip


def test_a_body_may_be_as_large_as_allowed_and_no_larger() -> None:
    gate = gated(body_bytes=1024)
    assert posted(gate, b"x" * 1024).json() == {"bytes": 1024}
    assert code_of(posted(gate, b"x" * 1025)) == (413, "request_too_large")


def test_a_body_that_does_not_say_its_size_is_counted() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 400

    answer = posted(gated(body_bytes=1024), pieces())
    assert code_of(answer) == (413, "request_too_large")


def test_a_size_that_is_none_is_refused() -> None:
    for size in ("-1", "1e3", "9" * 30):
        answer = posted(gated(), b"", **{"Content-Length": size})
        assert answer.status_code in (400, 413), size


def test_all_bodies_together_are_bounded() -> None:
    gate = gated(body_bytes=1024, bodies_bytes=1500)

    async def both() -> list[int]:
        first_is_held = asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield b"x" * 1000
            first_is_held.set()
            for _ in range(200):
                await asyncio.sleep(0)
                if second.done():
                    return
            raise AssertionError("the second request waits")

        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(gate), base_url=HERE,
            headers={"Content-Type": "application/json"},
        ) as client:  # fmt: skip

            async def late() -> httpx.Response:
                await first_is_held.wait()
                return await client.post("/v1/echo", content=b"y" * 1000)

            second = asyncio.ensure_future(late())
            first = await client.post("/v1/echo", content=slow())
            refused = await second
            third = await client.post("/v1/echo", content=b"y" * 1000)
            assert refused.headers["retry-after"] == "2"
            return [first.status_code, refused.status_code, third.status_code]

    assert asyncio.run(both()) == [200, 503, 200]


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)

    answer = posted(gated(body_s=0.1), never())
    assert answer.status_code == 408 and "0.1 s" in answer.json()["error"]["message"]


# -- answers


def test_faults_are_told_as_openai_does() -> None:
    gate = gated()
    queue = ask(gate, path="/v1/fail/queue")
    assert code_of(queue) == (429, "busy_queue") and queue.headers["retry-after"] == "7"
    assert queue.json()["error"]["type"] == "rate_limit_error"
    closing = ask(gate, path="/v1/fail/closing")
    assert code_of(closing) == (503, "busy_closing") and closing.headers["retry-after"] == "5"
    user = ask(gate, path="/v1/fail/user")
    assert user.status_code == 400 and "expected a square; got it" in user.text
    assert "/secret" not in user.text
    assert ask(gate, path="/v1/fail/memory").status_code == 503


def test_a_bug_tells_the_client_nothing_and_the_log_all(caplog: pytest.LogCaptureFixture) -> None:
    answer = ask(gated(), path="/v1/fail/bug")
    assert answer.status_code == 500
    assert "secret" not in answer.text and "Traceback" not in answer.text
    assert answer.json()["error"]["type"] == "server_error"
    assert "the secret of the server" in caplog.text
    assert answer.headers["x-request-id"] in caplog.text


def test_every_answer_has_the_headers_of_safety() -> None:
    for path in ("/health", "/nothing", "/v1/fail/user"):
        headers = ask(gated(), path=path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http:" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-request-id"].startswith("req_")
    ids = {ask(gated(), path="/health").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3
