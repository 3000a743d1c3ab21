"""A client in the same process, which takes only what the types of OpenAI's SDK take."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.media.wav import pcm16
from omnijet.runtime.realtime.conversation import Conversation

MEDIA = Path(__file__).parent.parent.parent / "media"
WAIT_S = 120.0
_EVENTS: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)


def checked(event: dict[str, Any]) -> dict[str, Any]:
    """Returns an event as it travels, if it is one of the SDK's."""
    travelled: dict[str, Any] = json.loads(json.dumps(event))
    _EVENTS.validate_python(travelled)
    return travelled


def sound(name: str, rate_hz: int = 24_000, before: float = 0.3, after: float = 1.0) -> np.ndarray:
    """Returns a recording of tests/media with silence around it: f32[n]."""
    samples, rate = soundfile.read(MEDIA / name, dtype="float32")
    samples = soxr.resample(samples, rate, rate_hz)
    silence = [np.zeros(int(seconds * rate_hz), np.float32) for seconds in (before, after)]
    return np.concatenate([silence[0], samples, silence[1]])


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Client:
    """Talks to a conversation, and keeps what it says.

    Attributes:
        events: all that came.
    """

    def __init__(self, assistant: Assistant, **options: Any) -> None:
        self.events: list[dict[str, Any]] = []
        self.faults: list[BaseException] = []
        self._came = threading.Condition()
        self._read = 0
        self.conversation = Conversation(assistant, self._take, **options)

    def _take(self, event: dict[str, Any]) -> None:
        try:
            travelled = checked(event)
        except BaseException as fault:
            self.faults.append(fault)
            raise
        with self._came:
            self.events.append(travelled)
            self._came.notify_all()

    def send(self, type: str, **fields: Any) -> None:
        assert self.conversation.wait_for_room(WAIT_S)
        self.conversation.receive({"type": type, **fields})

    def set(self, **session: Any) -> dict[str, Any]:
        """Updates the session; returns what it is then."""
        self._read = len(self.events)
        self.send("session.update", session={"type": "realtime", **session})
        found: dict[str, Any] = self.until("session.updated")["session"]
        return found

    def until(self, *types: str, seconds: float = WAIT_S) -> dict[str, Any]:
        """Reads on to the next event of a type, and returns it."""
        deadline = time.monotonic() + seconds
        with self._came:
            while True:
                while self._read < len(self.events):
                    event = self.events[self._read]
                    self._read += 1
                    if event["type"] in types:
                        return event
                    assert event["type"] != "error" or "error" in types, event
                left = deadline - time.monotonic()
                assert self._came.wait_for(lambda: self._read < len(self.events), left), (
                    f"no {types} in {seconds} s after {[one['type'] for one in self.events[-5:]]}"
                )

    def refused(self, type: str, **fields: Any) -> dict[str, Any]:
        """Sends an event and returns the error that it is answered with."""
        self.send(type, event_id="mine", **fields)
        error: dict[str, Any] = self.until("error", "conversation.item.added")["error"]
        assert error["event_id"] == "mine"
        return error

    def speak(self, samples: np.ndarray, piece: int = 4800) -> None:
        """Appends f32[n] at 24 kHz."""
        data = pcm16(samples)
        for first in range(0, len(data), piece):
            self.send("input_audio_buffer.append", audio=base64_of(data[first : first + piece]))

    def write(self, text: str) -> None:
        content = [{"type": "input_text", "text": text}]
        self.send(
            "conversation.item.create",
            item={"type": "message", "role": "user", "content": content},
        )

    def await_more(self, seen: int, seconds: float) -> None:
        """Waits until more than so many events have come, or the time is over."""
        with self._came:
            self._came.wait_for(lambda: len(self.events) > seen, seconds)

    def calm(self) -> None:
        """Waits until every response that was begun has ended, and reads all that came."""
        self.send("conversation.item.retrieve", item_id="nobody", event_id="calm")

        def is_calm() -> bool:
            types = [event["type"] for event in self.events]
            told = any(event.get("error", {}).get("event_id") == "calm" for event in self.events)
            return told and types.count("response.created") == types.count("response.done")

        with self._came:
            assert self._came.wait_for(is_calm, WAIT_S), self.events[-3:]
            for event in self.events:
                if event.get("error", {}).get("event_id") == "calm":
                    event["error"]["event_id"] = "was calm"
            self._read = len(self.events)

    def of_type(self, type: str) -> list[dict[str, Any]]:
        return [event for event in list(self.events) if event["type"] == type]

    def retrieved(self, item_id: str) -> dict[str, Any]:
        self.send("conversation.item.retrieve", item_id=item_id)
        item: dict[str, Any] = self.until("conversation.item.retrieved")["item"]
        return item


@contextmanager
def conversing(assistant: Assistant, **options: Any) -> Iterator[Client]:
    """Opens a conversation and closes it."""
    client = Client(assistant, **options)
    client.conversation.start()
    try:
        client.until("session.created")
        yield client
    finally:
        client.conversation.close()
    assert not client.faults, client.faults
