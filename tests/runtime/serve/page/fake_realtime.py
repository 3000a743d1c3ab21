"""A realtime server that thinks nothing: it notes what the page sends, and answers by a script."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from omnijet.runtime.serve.page_routes import page_routes

RATE_HZ = 24_000
CHUNK_S = 0.2
WAIT_S = 20.0
METADATA = {
    "omnijet_first_text_ms": "62.0",
    "omnijet_first_code_ms": "71.5",
    "omnijet_first_pcm_ms": "180.2",
    "omnijet_pause_ms": "500",
    "omnijet_speech_end_to_first_pcm_ms": "180.2",
}


@dataclass
class FakeRealtime:
    """The server's side of one page.

    Attributes:
        words: of each reply.
        seconds: of sound of each reply; a tone.
        pace: how long a chunk of sound takes, as a share of its length.
        modality: of the session: audio or text.
        key: wanted of a client; None wants none.
        heard: words that are left of a reply that was cut.
        events: what the page sent, in order.
    """

    words: Sequence[str] = ("Three ", "yellow ", "stars.")
    seconds: float = 0.6
    pace: float = 0.25
    modality: str = "audio"
    key: str | None = None
    heard: str = "Three"
    models: dict[str, Any] = field(
        default_factory=lambda: {
            "voices": ["Chelsie", "Ethan"],
            "presets": ["exact", "balanced", "fast"],
        }
    )
    events: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._socket: WebSocket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._replying: asyncio.Task[None] | None = None
        self._count = 0

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                *page_routes(),
                Route("/v1/models", self._models),
                WebSocketRoute("/v1/realtime", self._talk),
            ]
        )

    def wait_for(
        self, kind: str, count: int = 1, fits: Callable[[dict[str, Any]], bool] = lambda _: True
    ) -> list[dict[str, Any]]:
        """Returns the events of a type once there are `count` of them that fit."""
        with self._changed:
            done = self._changed.wait_for(lambda: len(self._of(kind, fits)) >= count, WAIT_S)
            assert done, f"no {kind}; the page sent {[event['type'] for event in self.events]}"
            return self._of(kind, fits)

    def send(self, *events: dict[str, Any]) -> None:
        """Sends events to the page, from a test."""
        assert self._loop is not None
        for event in events:
            asyncio.run_coroutine_threadsafe(self._send(event), self._loop).result(WAIT_S)

    def answer(self) -> None:
        """Begins a reply that the page did not ask for: the server heard the end of a turn."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._begin_reply)

    def _begin_reply(self) -> None:
        self._replying = asyncio.create_task(self._reply())

    def _of(self, kind: str, fits: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind and fits(event)]

    async def _models(self, request: Request) -> Response:
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            return JSONResponse({"error": {"message": "no such key"}}, 401)
        return JSONResponse({"object": "list", "data": [{"id": "omnijet-nano", **self.models}]})

    async def _talk(self, socket: WebSocket) -> None:
        offered = socket.scope["subprotocols"]
        if self.key and f"openai-insecure-api-key.{self.key}" not in offered:
            await socket.close(1008)
            return
        await socket.accept("realtime")
        self._socket, self._loop = socket, asyncio.get_running_loop()
        session = {"type": "realtime", "output_modalities": [self.modality]}
        await self._send({"type": "session.created", "session": session})
        try:
            while True:
                await self._take(json.loads(await socket.receive_text()))
        except WebSocketDisconnect:
            await self._end_reply()

    async def _take(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind == "session.update":
            await self._send({"type": "session.updated", "session": event["session"]})
        elif kind == "input_audio_buffer.commit":
            await self._send({"type": "input_audio_buffer.committed", "item_id": self._name("in")})
        elif kind == "response.create":
            self._begin_reply()
        elif kind == "response.cancel":
            await self._end_reply()
        elif kind == "conversation.item.truncate":
            facts = {name: event[name] for name in ("item_id", "content_index", "audio_end_ms")}
            await self._send({"type": "conversation.item.truncated", **facts})
        elif kind == "conversation.item.retrieve":
            content = [{"type": "output_audio", "transcript": self.heard}]
            item = {"id": event["item_id"], "type": "message", "content": content}
            await self._send({"type": "conversation.item.retrieved", "item": item})
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    async def _reply(self) -> None:
        response, item = self._name("resp"), self._name("out")
        ids = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
        output = [{"id": item, "type": "message", "role": "assistant", "content": []}]
        await self._send({"type": "response.created", "response": {"id": response}})
        await self._send({"type": "response.output_item.added", "item": output[0], **ids})
        status = "cancelled"
        try:
            words = "output_text" if self.modality == "text" else "output_audio_transcript"
            for word in self.words:
                await self._send({"type": f"response.{words}.delta", "delta": word, **ids})
            for chunk in tone(self.seconds if self.modality == "audio" else 0.0):
                audio = base64.b64encode(chunk.tobytes()).decode()
                await self._send({"type": "response.output_audio.delta", "delta": audio, **ids})
                await asyncio.sleep(CHUNK_S * self.pace)
            await self._send({"type": "response.output_audio.done", **ids})
            status = "completed"
        finally:
            done = {"id": response, "status": status, "output": output, "metadata": METADATA}
            await self._send({"type": "response.done", "response": done})

    async def _end_reply(self) -> None:
        if self._replying is not None:
            self._replying.cancel()
            await asyncio.gather(self._replying, return_exceptions=True)

    async def _send(self, event: dict[str, Any]) -> None:
        assert self._socket is not None
        await self._socket.send_text(json.dumps(event))

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"


def tone(seconds: float, hz: float = 440.0) -> list[np.ndarray]:
    """Returns a tone as int16 at 24 kHz, in chunks."""
    at = np.arange(round(seconds * RATE_HZ))
    samples = (8000 * np.sin(2 * np.pi * hz * at / RATE_HZ)).astype("<i2")
    size = round(CHUNK_S * RATE_HZ)
    return [samples[start : start + size] for start in range(0, samples.size, size)]
