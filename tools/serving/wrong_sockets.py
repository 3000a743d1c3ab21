"""WebSockets that break the protocol, and events that no conversation knows or expects."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable
from random import Random
from typing import Any

from tools.serving.attempt import Attempt, Maker, Wrong
from tools.serving.raw import BINARY, CLOSE, PING, Wire, frame, upgrade, wire
from tools.serving.service import Service
from tools.serving.wrong_fields import opened, told_event

REALTIME = "/v1/realtime?model=omnijet"
KEY = b"Sec-WebSocket-Key: "
HUGE = 40 << 20
ODD_EVENTS: tuple[tuple[str, bytes], ...] = (
    ("no JSON", b"hello"), ("nothing", b""), ("a list", b"[]"), ("a number", b"7"),
    ("no type", b"{}"), ("a type that is no word", b'{"type": 7}'),
    ("an unknown type", b'{"type": "session.destroy"}'), ("a server's type", b'{"type": "error"}'),
    ("NaN", b'{"type": "input_audio_buffer.commit", "x": NaN}'),
    ("a key twice", b'{"type": "input_audio_buffer.clear", "type": "response.create"}'),
    ("deep lists", b"[" * 100_000), ("deep objects", b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    ("half of it", b'{"type": "response.cre'),
    ("a long number", b'{"type": "response.cancel", "x": ' + b"9" * 100_000 + b"}"),
    ("a name that is no word", b'{"type": "response.create", "event_id": 7}'),
    ("an unknown field", b'{"type": "input_audio_buffer.append", "audio": "AAAA", "volume": 3}'),
)  # fmt: skip
OUT_OF_ORDER: tuple[dict[str, Any], ...] = (
    {"type": "response.cancel"},
    {"type": "response.cancel", "response_id": "resp_none"},
    {"type": "input_audio_buffer.commit"},
    {"type": "conversation.item.delete", "item_id": "item_none"},
    {"type": "conversation.item.retrieve", "item_id": "item_none"},
    {"type": "conversation.item.truncate", "item_id": "item_none", "content_index": 0,
     "audio_end_ms": 5},
    {"type": "conversation.item.create", "previous_item_id": "item_none", "item": {
        "type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}},
    {"type": "conversation.item.create", "item": {
        "type": "function_call_output", "call_id": "call_none", "output": "x"}},
    {"type": "conversation.item.create", "item": {"type": "message", "role": "user"}},
    {"type": "session.update"},
    {"type": "session.update", "session": {}},
    {"type": "input_audio_buffer.append"},
    {"type": "input_audio_buffer.append", "audio": "*no base64*"},
    {"type": "input_audio_buffer.append", "audio": "AAAAA"},
    {"type": "input_audio_buffer.append", "audio": "AA=A"},
)  # fmt: skip


def events() -> Maker:
    """Returns a maker of events that are none, that come too early, or that are too large."""

    def make(rng: Random, number: int) -> Attempt:
        kind = rng.randrange(20)
        if kind < 9:
            name, content = rng.choice(ODD_EVENTS)
            return _event(f"event: {name}", content, "")
        event = {"event_id": "mine", **rng.choice(OUT_OF_ORDER)}
        if kind < 19:
            return _event(f"too early: {_short(event)}", json.dumps(event).encode(), "mine")
        return _broken(_huge, rng)

    return make


def frames() -> Maker:
    """Returns a maker of frames that the protocol does not allow."""

    def make(rng: Random, number: int) -> Attempt:
        return _broken(_FRAMES[number % len(_FRAMES)], rng)

    return make


def handshakes() -> Maker:
    """Returns a maker of handshakes that must not lead to a conversation."""

    def make(rng: Random, number: int) -> Attempt:
        good = upgrade(REALTIME)
        name, content = rng.choice(
            (
                ("a foreign origin", upgrade(REALTIME, b"Origin: https://evil.example\r\n")),
                ("a foreign host", good.replace(b"Host: 127.0.0.1", b"Host: evil.example")),
                ("an old version", good.replace(b"Version: 13", b"Version: 8")),
                ("no key", good.replace(b"Sec-WebSocket-Key", b"X-Key")),
                (
                    "a short key",
                    good.replace(KEY, KEY + b"AA==\r\nX: "),
                ),
                ("another path", upgrade("/v1/chat/completions")),
                ("no such path", upgrade("/ws")),
                ("a path outside", upgrade("/v1/realtime/../../x")),
                ("POST", good.replace(b"GET", b"POST", 1)),
                ("another protocol", good.replace(b"websocket", b"h2c", 1)),
            )
        )

        async def run(server: Service) -> str:
            async with wire(server.address) as client:
                await client.send(content)
                try:
                    answer = await client.answer()
                except ConnectionError:
                    return "closed"
                if answer.status and not 400 <= answer.status < 500 and answer.status != 501:
                    raise Wrong(f"status {answer.status}: {answer.body[:200]!r}")
                return str(answer.status or "closed")

        return Attempt(f"handshake: {name}", run)

    return make


def idle() -> Maker:
    """Returns a maker of conversations that are open while nobody reads or answers."""

    def make(rng: Random, number: int) -> Attempt:
        async def run(server: Service) -> str:
            async with wire(server.address) as client:
                await opened(client)
                while await client.read_some(1 << 16):
                    pass
                return "closed"

        return Attempt("a conversation that answers no ping", run)

    return make


def _masked_wrong(rng: Random) -> tuple[str, list[bytes]]:
    return "an unmasked frame", [frame(b'{"type": "response.cancel"}', masks=False)]


def _too_long(rng: Random) -> tuple[str, list[bytes]]:
    size = rng.choice((2**31, 2**40, 2**63 - 1, 2**64 - 1))
    return f"a frame of {size} bytes", [frame(b"abc", size=size)]


def _binary(rng: Random) -> tuple[str, list[bytes]]:
    return "binary", [frame(rng.randbytes(rng.randrange(1, 5000)), BINARY)]


def _bad_text(rng: Random) -> tuple[str, list[bytes]]:
    return "bad UTF-8", [frame(b'{"type": "\xff\xfe\x80"}')]


def _reserved(rng: Random) -> tuple[str, list[bytes]]:
    return "reserved bits", [frame(b"{}", reserved=rng.randrange(1, 8))]


def _opcode(rng: Random) -> tuple[str, list[bytes]]:
    return "an unknown opcode", [frame(b"{}", rng.choice((3, 4, 7, 11, 15)))]


def _continued(rng: Random) -> tuple[str, list[bytes]]:
    return "a rest without a beginning", [frame(b"{}", 0)]


def _nested(rng: Random) -> tuple[str, list[bytes]]:
    return "a beginning in a beginning", [frame(b"{", is_last=False), frame(b"}")]


def _long_ping(rng: Random) -> tuple[str, list[bytes]]:
    return "a ping of 300 bytes", [frame(bytes(300), PING)]


def _split_ping(rng: Random) -> tuple[str, list[bytes]]:
    return "a ping in pieces", [frame(b"a", PING, is_last=False)]


def _odd_close(rng: Random) -> tuple[str, list[bytes]]:
    code = rng.choice((b"\x03", struct.pack("!H", 999), struct.pack("!H", 1005), b"\x03\xe8\xff"))
    return f"closed with {code!r}", [frame(code, CLOSE)]


def _endless(rng: Random) -> tuple[str, list[bytes]]:
    start, piece = frame(b'{"type": "', is_last=False), frame(b"a" * (1 << 20), 0, is_last=False)
    return "a message of 40 MB in pieces", [start, *[piece] * 40]


def _huge(rng: Random) -> tuple[str, list[bytes]]:
    content = b'{"type": "input_audio_buffer.append", "audio": "' + b"A" * HUGE + b'"}'
    return "an event of 40 MB", [frame(content)]


def _many_pieces(rng: Random) -> tuple[str, list[bytes]]:
    start, piece = frame(b'{"type": "', is_last=False), frame(b"a", 0, is_last=False)
    return "a message in 20,000 pieces", [start, *[piece] * 20_000, frame(b"", 0)]


def _noise(rng: Random) -> tuple[str, list[bytes]]:
    return "noise", [b"\xf0" + rng.randbytes(rng.randrange(20, 3000))]


_FRAMES = (
    _masked_wrong, _too_long, _binary, _bad_text, _reserved, _opcode, _continued, _nested,
    _long_ping, _split_ping, _odd_close, _endless, _many_pieces, _noise,
)  # fmt: skip


def _event(name: str, content: bytes, event_id: str) -> Attempt:
    async def run(server: Service) -> str:
        async with wire(server.address) as client:
            await opened(client)
            await client.send(frame(content))
            return await told_event(client, event_id)

    return Attempt(name, run)


def _broken(make: Callable[[Random], tuple[str, list[bytes]]], rng: Random) -> Attempt:
    """Makes the attempt after which the connection closes, or an error event comes."""

    async def run(server: Service) -> str:
        _, content = make(rng)
        async with wire(server.address) as client:
            await opened(client)
            sending = asyncio.create_task(_send(client, content))
            try:
                event = await client.until("error")
            except (EOFError, ConnectionError):
                return "closed"
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            if not event["error"].get("message"):
                raise Wrong(f"an error without a message: {event}")
            return "error event"

    return Attempt(f"frame: {make.__name__}", run)


async def _send(client: Wire, content: list[bytes]) -> None:
    for piece in content:
        await client.send(piece)


def _short(event: dict[str, Any]) -> str:
    return json.dumps({key: value for key, value in event.items() if key != "event_id"})[:80]
