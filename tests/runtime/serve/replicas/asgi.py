"""Calls an ASGI application without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from starlette.types import ASGIApp, Message, Scope


def scope(kind: str, path: str = "/", **more: Any) -> Scope:
    return {"type": kind, "method": "GET", "path": path, "headers": [], **more}


async def called(app: ASGIApp, given: Scope, messages: Sequence[Message]) -> list[Message]:
    """Returns what an application sends to a client that sends these messages and then waits."""
    waiting, sent = list(messages), []

    async def receive() -> Message:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await asyncio.wait_for(app(given, receive, send), 30)
    return sent
