"""A client of `/v1/realtime`: one who speaks, and keeps the microphone open."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from omnijet.runtime.bundle.contract import Array
from tools.serving.heard import RATE_HZ, Heard
from tools.serving.questions import pcm16

PIECE_S = 0.1
SILENCE = bytes(round(PIECE_S * RATE_HZ) * 2)
LONGEST_TURN_S = 180.0
OVERLOADED = (429, 503)
SESSION: dict[str, Any] = {
    "type": "realtime",
    "output_modalities": ["audio"],
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": RATE_HZ},
            "turn_detection": {"type": "server_vad", "silence_duration_ms": 400},
        },
        "output": {"format": {"type": "audio/pcm", "rate": RATE_HZ}, "voice": "Chelsie"},
    },
}
BUSY = ("busy_queue", "busy_sessions", "busy_closing")
ENDS = {
    "response.output_audio.delta": "response.output_audio.done",
    "response.output_audio_transcript.delta": "response.output_audio_transcript.done",
}


class Refused(Exception):
    """The server has no room for another conversation.

    Attributes:
        retry_after: the header; None without one.
    """

    def __init__(self, retry_after: str | None) -> None:
        super().__init__(f"refused, Retry-After {retry_after}")
        self.retry_after = retry_after


class Voice:
    """One conversation over a socket.

    Attributes:
        faults: of events that belong to no turn.
    """

    def __init__(self, socket: ClientConnection, client: str) -> None:
        self.client = client
        self.faults: list[str] = []
        self._socket = socket
        self._events: set[str] = set()
        self._items: list[str] = []
        self._ended: set[str] = set()

    async def send(self, type: str, **fields: Any) -> None:
        await self._socket.send(json.dumps({"type": type, **fields}))

    async def receive(self) -> dict[str, Any]:
        """Returns the next event; notes one that came twice, or after its reply."""
        event: dict[str, Any] = json.loads(await self._socket.recv())
        if (name := event.get("event_id")) in self._events or not name:
            self.faults.append(f"the event {name} of {event['type']} came twice or has no name")
        self._events.add(str(name))
        if event.get("response_id") in self._ended:
            self.faults.append(f"{event['type']} after the end of its response")
        if event["type"] in ("conversation.item.added", "conversation.item.created"):
            self._items.append(event["item"]["id"])
        return event

    async def until(self, type: str) -> dict[str, Any]:
        """Returns the next event of a type; an error event instead is a fault."""
        while True:
            event = await self.receive()
            if event["type"] == type:
                return event
            if event["type"] == "error":
                raise ValueError(f"instead of {type}: {event['error']}")

    async def ask(self, samples: Array, answer: str) -> Heard:
        """Says something in real time and hears the reply to its end, the microphone open."""
        heard = Heard(self.client, "realtime", answer)
        began = time.monotonic()
        microphone = asyncio.create_task(self._speak(pcm16(samples)))
        reply = Reply(heard)
        try:
            await asyncio.wait_for(self._hear(reply, began), LONGEST_TURN_S)
            self._ended.add(reply.id)
        except (ConnectionClosed, asyncio.TimeoutError, ValueError, KeyError, TypeError) as error:
            heard.faults.append(f"{type(error).__name__}: {error}; last {reply.last}")
        finally:
            microphone.cancel()
            with suppress(asyncio.CancelledError, ConnectionClosed):
                await microphone
        said_s = len(samples) / 16_000
        if heard.first_pcm_s is not None:
            heard.first_pcm_s -= said_s
        heard.total_s = time.monotonic() - began - said_s
        heard.faults += self.faults
        self.faults = []
        if heard.is_whole:
            heard.judge()
        return heard

    async def forget(self) -> None:
        """Deletes every item, so that the conversation begins anew."""
        for item in dict.fromkeys(self._items):
            await self.send("conversation.item.delete", item_id=item)
            await self.until("conversation.item.deleted")
        self._items.clear()

    async def _hear(self, reply: Reply, began: float) -> None:
        while not reply.is_done:
            event = await self.receive()
            reply.take(event, time.monotonic() - began)

    async def _speak(self, pcm: bytes) -> None:
        """Sends what is said and then silence, piece by piece in real time."""
        began, size, number = time.monotonic(), len(SILENCE), 0
        while True:
            piece = pcm[number * size : (number + 1) * size].ljust(size, b"\0")
            number += 1
            await asyncio.sleep(max(0.0, began + number * PIECE_S - time.monotonic()))
            await self.send("input_audio_buffer.append", audio=base64.b64encode(piece).decode())


class Reply:
    """One reply, put together from its events."""

    def __init__(self, heard: Heard) -> None:
        self.id = ""
        self.last = ""
        self.is_done = False
        self._heard = heard
        self._ended: set[str] = set()

    def take(self, event: dict[str, Any], at: float) -> None:
        heard, kind = self._heard, event["type"]
        self.last = kind
        if kind in ENDS:
            if not self.id:
                heard.faults.append(f"{kind} before its response")
            if ENDS[kind] in self._ended:
                heard.faults.append(f"{kind} after {ENDS[kind]}")
        if "response_id" in event and event["response_id"] != self.id:
            heard.faults.append(f"{kind} of another response")
        if kind in ENDS.values() or kind == "response.created":
            if kind in self._ended:
                heard.faults.append(f"{kind} twice in a turn")
            self._ended.add(kind)
        if kind == "response.created":
            self.id = event["response"]["id"]
        elif kind == "response.output_audio.delta":
            if heard.first_pcm_s is None:
                heard.first_pcm_s = at
            heard.pcm += base64.b64decode(event["delta"], validate=True)
        elif kind == "response.output_audio_transcript.delta":
            heard.text += event["delta"]
        elif kind == "response.output_audio_transcript.done":
            if event["transcript"] != heard.text:
                heard.faults.append(f"{event['transcript']!r} is not the sum of its deltas")
        elif kind == "error":
            self._refuse(event["error"])
        elif kind == "response.done":
            self._end(event["response"])

    def _refuse(self, error: dict[str, Any]) -> None:
        """Notes an error, which may be a refusal that says when to come again."""
        wait = re.search(r"try again in (\d+) s", error["message"])
        if error["code"] in BUSY:
            self._heard.refused(wait[1] if wait else None)
        else:
            self._heard.faults.append(f"error: {error}")

    def _end(self, response: dict[str, Any]) -> None:
        heard, self.is_done = self._heard, True
        if response["id"] != self.id:
            heard.faults.append("response.done of another response")
        if response["status"] != "completed":
            if heard.retry_s is None:
                heard.faults.append(f"{response['status']}: {response.get('status_details')}")
            return
        heard.ids += [response["id"], *(item["id"] for item in response["output"])]
        said = [part.get("transcript") for item in response["output"] for part in item["content"]]
        if said != [heard.text]:
            heard.faults.append(f"the response holds {said}, its deltas say {heard.text!r}")
        details = (response.get("usage") or {}).get("output_token_details") or {}
        heard.codes = details.get("audio_tokens")


@asynccontextmanager
async def voice(url: str, client: str) -> AsyncIterator[Voice]:
    """Opens a conversation.

    Raises:
        Refused: there is no room.
    """
    try:
        socket = await connect(url, max_size=None, open_timeout=60, ping_timeout=None)
    except InvalidStatus as error:
        if error.response.status_code in OVERLOADED:
            raise Refused(error.response.headers.get("Retry-After")) from error
        raise
    async with socket:
        found = Voice(socket, client)
        await found.until("session.created")
        await found.send("session.update", session=SESSION)
        await found.until("session.updated")
        yield found
