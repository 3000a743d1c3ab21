"""Requests that are wrong before anybody looks at their fields."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from random import Random

from tools.serving import chat
from tools.serving.attempt import Attempt, Maker, Wrong, told
from tools.serving.raw import Answer, Wire, post, wire
from tools.serving.service import MODEL, Service

MODELS = "/v1/models"
DEEP, HUGE = 100_000, 40 << 20
FOREIGN = "https://evil.example"
SECRETS = (b"root:", b"[project]", b"import ")
PATHS = (
    "/../../../../etc/passwd", "/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "/static/../../pyproject.toml",
    "/static/..%2f..%2fapp.py", "/static/%2e%2e%2fconfig.py", "/page/....//....//etc/passwd",
    "//etc/passwd", "/static//etc/passwd", "/static/%00.js", "/..\\..\\windows\\win.ini", "/.env",
    "/%c0%ae%c0%ae/etc/passwd", "/app.py", "/static/app.js/../../../app.py", "/v1/../../app.py",
    "/v1/files/..", "/%252e%252e/etc/passwd",
)  # fmt: skip
METHODS = (
    ("GET", chat.PATH), ("PUT", chat.PATH), ("DELETE", chat.PATH), ("PATCH", chat.PATH),
    ("TRACE", "/"), ("POST", MODELS), ("DELETE", MODELS), ("POST", "/health"), ("PUT", "/"),
    ("POST", "/metrics"), ("BREW", "/"), ("POST", "/v1/realtime"), ("GET", "/v1/realtime"),
    ("POST", "/v1/nothing"), ("GET", "/v1/nothing"), ("CONNECT", "/"), ("get", MODELS),
)  # fmt: skip
LINES = (
    b"\r\n\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1 x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), b"\0" * 300 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost 127.0.0.1\r\n\r\n", b"GET / HTTP/1.1\r\n Host: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nA\0B: c\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\xff\xfe" * 99 + b"\r\n\r\n",
    b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
)  # fmt: skip
LENGTHS = (
    ("Content-Length: -5",), ("Content-Length: abc",), ("Content-Length: 99999999999999999999",),
    ("Content-Length: 5", "Content-Length: 50"), ("Content-Length: 5, 50",),
    ("Content-Length: 3000000000",), ("Transfer-Encoding: gzip",), ("Transfer-Encoding: cow",),
)  # fmt: skip
CHUNKS = (
    b"zz\r\nabc\r\n0\r\n\r\n", b"-1\r\n\r\n", b"FFFFFFFFFFFFFFFFFF\r\nx\r\n",
    b"5;" + b"x" * 200_000,
)  # fmt: skip
HOSTS = ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "a b", "[::")
ORIGINS = (FOREIGN, "null", "http://127.0.0.1.evil.example", "http://localhost:1")


def _good(more: bytes = b"") -> bytes:
    """Returns a good body of JSON, with more fields before its end."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
    return json.dumps(body).encode()[:-1] + more + b"}"


def _half(rng: Random) -> bytes:
    return _good()[: rng.randrange(1, len(_good()))]


def _many_keys(rng: Random) -> bytes:
    return ("{" + ",".join(f'"k{n}": 1' for n in range(50_000)) + "}").encode()


BODIES: tuple[tuple[str, Callable[[Random], bytes], str], ...] = (
    ("nothing", lambda rng: b"", ""),
    ("half of it", _half, ""),
    ("NaN", lambda rng: _good(b', "temperature": NaN'), ""),
    ("Infinity", lambda rng: _good(b', "top_p": -Infinity'), ""),
    ("a number of 400 digits", lambda rng: _good(b', "seed": ' + b"9" * 400), ""),
    ("a number of 100,000 digits", lambda rng: _good(b', "seed": ' + b"9" * 100_000), ""),
    ("a key twice", lambda rng: _good(b', "model": "a"'), ""),
    ("deep lists", lambda rng: b"[" * DEEP, ""),
    ("deep objects", lambda rng: b'{"a":' * DEEP + b"1" + b"}" * DEEP, ""),
    ("a deep field", lambda rng: _good(b', "stop": ' + b"[" * 999 + b"]" * 999), ""),
    ("no object", lambda rng: rng.choice((b"7", b"null", b"[]", b'"x"', b"true")), ""),
    ("bad UTF-8", lambda rng: _good().replace(b"Hi", b"\xff\xfe\x80"), ""),
    ("UTF-16", lambda rng: _good().decode().encode("utf-16"), ""),
    ("40 MB", lambda rng: b'{"x": "' + b"a" * HUGE + b'"}', ""),
    ("many keys", _many_keys, ""),
    ("noise", lambda rng: rng.randbytes(rng.randrange(1, 5000)), ""),
    ("a form", lambda rng: b"model=x", "Content-Type: application/x-www-form-urlencoded"),
    ("plain text", lambda rng: _good(), "Content-Type: text/plain"),
    ("XML", lambda rng: b"<a/>", "Content-Type: application/xml"),
    ("no type", lambda rng: _good(), "Content-Type:"),
)


def bodies() -> Maker:
    """Returns a maker of bodies that are no JSON, or too much of it."""

    def make(rng: Random, number: int) -> Attempt:
        name, content, header = BODIES[number % len(BODIES)]

        async def run(server: Service) -> str:
            request = post(chat.PATH, content(rng), *[header] * bool(header))
            return _told_or_closed(await _sent(server, request))

        return Attempt(f"body: {name}", run)

    return make


def _flood(rng: Random) -> bytes:
    flood = [f"X-{n}: {'a' * 50}" for n in range(rng.choice((5_000, 50_000)))]
    return post(MODELS, b"", *flood, method="GET")


def _chunked(rng: Random) -> bytes:
    return post(chat.PATH, rng.choice(CHUNKS), "Transfer-Encoding: chunked")


_LINES: tuple[tuple[str, Callable[[Random], bytes]], ...] = (
    ("line", lambda rng: rng.choice(LINES)),
    ("length", lambda rng: post(chat.PATH, b"{}", *rng.choice(LENGTHS))),
    ("chunks", _chunked),
    ("many headers", _flood),
    ("a header of 1 MB", lambda rng: post(MODELS, b"", "X: " + "a" * (1 << 20), method="GET")),
)


def lines() -> Maker:
    """Returns a maker of requests that are no HTTP, or not what HTTP allows."""

    def make(rng: Random, number: int) -> Attempt:
        name, make_content = _LINES[number % len(_LINES)]
        content = make_content(rng)

        async def run(server: Service) -> str:
            answer = await _sent(server, content, ends=True)
            if (answer.status and not 400 <= answer.status < 506) or answer.status == 500:
                raise Wrong(f"status {answer.status}: {answer.body[:200]!r}")
            return str(answer.status or "closed")

        return Attempt(f"{name}: {content[:40]!r}", run)

    return make


def routes() -> Maker:
    """Returns a maker of paths that lead outside, wrong methods, and foreign names."""

    def make(rng: Random, number: int) -> Attempt:
        kind = rng.randrange(4)
        if kind == 0:
            path = rng.choice(PATHS)
            return _asked(f"path {path}", post(path, b"", method="GET"))
        if kind == 1:
            method, path = rng.choice(METHODS)
            return _asked(f"{method} {path}", post(path, b"{}", method=method))
        if kind == 2:
            host = rng.choice(HOSTS)
            return _asked(f"Host {host!r}", post(MODELS, b"", f"Host: {host}", method="GET"))
        origin = rng.choice(ORIGINS)
        return _asked(f"Origin {origin}", post(chat.PATH, b"{}", f"Origin: {origin}"))

    return make


def slow() -> Maker:
    """Returns a maker of requests that come piece by piece, or never to their end."""

    def make(rng: Random, number: int) -> Attempt:
        content = rng.choice(
            (
                b"", b"GET ", post(MODELS, b"", method="GET")[:-2],
                post(chat.PATH, b'{"model"', "Content-Length: 5000"),
                post(chat.PATH, b"5\r\n{", "Transfer-Encoding: chunked"),
            )
        )  # fmt: skip
        drips, ends = rng.random() < 0.5, rng.random() < 0.25

        async def run(server: Service) -> str:
            async with wire(server.address) as client:
                await client.send(content)
                if ends:
                    client.end_sending()
                dripping = asyncio.create_task(_drip(client)) if drips and not ends else None
                try:
                    answer = await client.answer()
                except ConnectionError:
                    answer = Answer()
                finally:
                    if dripping is not None:
                        dripping.cancel()
                if answer.status and not 400 <= answer.status < 500:
                    raise Wrong(f"status {answer.status}: {answer.body[:200]!r}")
                return str(answer.status or "closed")

        return Attempt(f"{content[:20]!r} and {'drops' if drips else 'nothing'}", run)

    async def _drip(client: Wire) -> None:
        while True:
            await asyncio.sleep(0.5)
            await client.send(b"a")

    return make


async def _sent(server: Service, content: bytes, ends: bool = False) -> Answer:
    """Sends as much as is taken and returns the answer; an empty one where there is none."""
    async with wire(server.address) as client:
        sending = asyncio.create_task(client.send(content))
        try:
            return await client.answer()
        except ConnectionError:  # closed with unread bytes: the answer may be lost on its way
            return Answer()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


def _told_or_closed(answer: Answer) -> str:
    return told(answer) if answer.status else "closed"


def _asked(name: str, content: bytes) -> Attempt:
    """Makes the attempt that must be refused, and that shows no file."""

    async def run(server: Service) -> str:
        answer = await _sent(server, content)
        if any(secret in answer.body for secret in SECRETS):
            raise Wrong(f"it shows a file: {answer.body[:100]!r}")
        if answer.status and not 400 <= answer.status < 500 and answer.status != 501:
            raise Wrong(f"status {answer.status}: {answer.body[:200]!r}")
        return str(answer.status or "closed")

    return Attempt(name, run)
