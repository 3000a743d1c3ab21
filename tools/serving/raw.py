"""Sockets by hand: what no library would send, and ends that no library would make."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

End = Literal["clean", "fin", "rst"]
ENDS: tuple[End, ...] = ("clean", "fin", "rst")
MOST_BYTES = 32 << 20  # of an answer

TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9


@dataclass(slots=True)
class Answer:
    """What came back: nothing, an answer of HTTP, or the bytes of something else."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        """Returns the body as JSON; raises `ValueError`."""
        return json.loads(self.body)


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.is_open = False  # whether it has become a WebSocket

    async def send(self, content: bytes) -> None:
        self._writer.write(content)
        await self._writer.drain()

    def end_sending(self) -> None:
        """Closes the half that sends."""
        with suppress(OSError):
            self._writer.write_eof()

    async def answer(self, skips_body: bool = False) -> Answer:
        """Reads one answer of HTTP; an empty one where the server closed without.

        Raises:
            ConnectionError: the server has reset the connection.
            ValueError: it sent something else.
        """
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise ValueError(f"half an answer: {error.partial[:80]!r}") from error
            return Answer()
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        pairs = (line.partition(":") for line in lines)
        found = Answer(int(first.split()[1]), {k.lower(): v.strip() for k, _, v in pairs})
        if found.status in (101, 204, 304) or skips_body:
            return found
        if found.headers.get("transfer-encoding") == "chunked":
            while size := int(await self._reader.readline(), 16):
                found.body += await self._reader.readexactly(size)
                await self._reader.readexactly(2)
            await self._reader.readexactly(2)
        elif "content-length" in found.headers:
            found.body = await self._reader.readexactly(int(found.headers["content-length"]))
        else:
            found.body = await self._reader.read(MOST_BYTES)
        return found

    async def read_some(self, count: int) -> bytes:
        """Reads at most as many bytes; nothing at the end of the stream."""
        return await self._reader.read(count)

    async def upgrade(self, path: str = "/v1/realtime?model=omnijet", extra: bytes = b"") -> Answer:
        """Asks for a WebSocket; returns the answer, whose status is 101 if there is one."""
        await self.send(upgrade(path, extra))
        answer = await self.answer()
        self.is_open = answer.status == 101
        return answer

    async def frame(self) -> tuple[int, bytes]:
        """Reads one frame of the server: (opcode, payload). Raises at the end of the stream."""
        first, second = await self._reader.readexactly(2)
        size = second & 127
        if size == 126:
            (size,) = struct.unpack("!H", await self._reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self._reader.readexactly(8))
        return first & 15, await self._reader.readexactly(size)

    async def event(self) -> dict[str, Any]:
        """Reads the next event; the end of the conversation is an `EOFError` with its reason."""
        while True:
            kind, content = await self.frame()
            if kind == CLOSE:
                code = struct.unpack("!H", content[:2])[0] if content else None
                raise EOFError(f"closed with {code}: {content[2:].decode(errors='replace')}")
            if kind == PING:
                await self.send(frame(content, 10))
            if kind == TEXT:
                found: dict[str, Any] = json.loads(content)
                return found

    async def say(self, **event: Any) -> None:
        """Sends one event."""
        await self.send(frame(json.dumps(event).encode()))

    async def until(self, *types: str) -> dict[str, Any]:
        """Returns the next event of one of these types."""
        while True:
            event = await self.event()
            if event["type"] in types:
                return event

    async def close(self, end: End = "fin") -> None:
        """Ends the connection in one of the ways."""
        with suppress(OSError):
            if end == "clean" and self.is_open:
                await self.send(frame(struct.pack("!H", 1000), CLOSE))
                with suppress(EOFError, asyncio.TimeoutError, ValueError):
                    await asyncio.wait_for(self.until(""), 5)
            if end == "rst":
                one: socket.socket = self._writer.get_extra_info("socket")
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._writer.transport.abort()
            self._writer.close()
            await self._writer.wait_closed()


@asynccontextmanager
async def wire(address: tuple[str, int]) -> AsyncIterator[Wire]:
    """Connects, and closes at the end of the block."""
    found = Wire(*await asyncio.open_connection(*address, limit=1 << 22))
    try:
        yield found
    finally:
        await found.close()


def post(path: str, content: bytes, *headers: str, method: str = "POST") -> bytes:
    """Returns a request of HTTP with a body of JSON, unless a header says another type."""
    lines = [f"{method} {path} HTTP/1.1", *headers]
    names = {line.partition(":")[0].lower() for line in headers}
    wanted = {"Host": "127.0.0.1", "Content-Type": "application/json"}
    if "transfer-encoding" not in names:
        wanted["Content-Length"] = str(len(content))
    lines += [f"{name}: {value}" for name, value in wanted.items() if name.lower() not in names]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + content


def upgrade(path: str, extra: bytes = b"") -> bytes:
    """Returns a request for a WebSocket."""
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
    ).encode() + extra + b"\r\n"  # fmt: skip


def frame(
    content: bytes, opcode: int = TEXT, *, is_last: bool = True, masks: bool = True,
    size: int | None = None, reserved: int = 0,
) -> bytes:  # fmt: skip
    """Returns a frame of a client, right or wrong.

    Args:
        size: what its head says; that of the content by default.
        reserved: the three reserved bits.
    """
    said = len(content) if size is None else size
    mask = 0x80 if masks else 0
    head = bytes([(0x80 if is_last else 0) | reserved << 4 | opcode])
    if said < 126:
        head += bytes([mask | said])
    elif said < 1 << 16:
        head += bytes([mask | 126]) + struct.pack("!H", said)
    else:
        head += bytes([mask | 127]) + struct.pack("!Q", said)
    if not masks:
        return head + content
    key = os.urandom(4)
    whole = int.from_bytes((key * (len(content) // 4 + 1))[: len(content)], "big")
    masked = (int.from_bytes(content, "big") ^ whole).to_bytes(len(content), "big")
    return head + key + masked
