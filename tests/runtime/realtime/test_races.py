"""Whatever a client does in whatever order: no fault of the server, no hang, nothing left."""

from __future__ import annotations

import random
import threading
from typing import Any

import numpy as np
import pytest

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.omni import Omni
from omnijet.runtime.realtime.conversation import Conversation, Gone
from tests.runtime.realtime.client import Client, base64_of, checked
from tests.runtime.realtime.test_barge_in import LoudDetector
from tests.scripted import scripted

WAIT_S = 120.0
TOOL = {"type": "function", "name": "act", "parameters": {"type": "object"}}
CALL = 'one <tool_call>\n{"name": "act", "arguments": {"a": 1}}\n</tool_call>'


class Player:
    """Draws events: sensible ones, at any moment."""

    def __init__(self, client: Client, seed: int) -> None:
        self._client, self._draw = client, random.Random(seed)

    def play(self, count: int) -> None:
        acts = [self._speak, self._speak, self._hush, self._write, self._answer, self._answer,
                self._cancel, self._truncate, self._delete, self._commit, self._clear, self._set,
                self._wait, self._result]  # fmt: skip
        for _ in range(count):
            self._draw.choice(acts)()

    def _speak(self) -> None:
        loud = 0.1 * np.sin(np.arange(self._draw.randrange(1, 12_000)))
        self._sound(loud)

    def _hush(self) -> None:
        self._sound(np.zeros(self._draw.randrange(1, 20_000)))

    def _sound(self, samples: np.ndarray) -> None:
        data = (samples * 32767).astype("<i2").tobytes()
        self._client.send("input_audio_buffer.append", audio=base64_of(data))

    def _write(self) -> None:
        self._client.write("Hello")

    def _answer(self) -> None:
        wish: dict[str, Any] = {"max_output_tokens": self._draw.choice([1, 20, 60])}
        if self._draw.random() < 0.4:
            wish["output_modalities"] = ["text"]
        self._client.send("response.create", response=wish)

    def _cancel(self) -> None:
        self._client.send("response.cancel")

    def _truncate(self) -> None:
        if (item := self._item()) is not None:
            self._client.send(
                "conversation.item.truncate",
                item_id=item, content_index=0, audio_end_ms=self._draw.randrange(800),
            )  # fmt: skip

    def _delete(self) -> None:
        if (item := self._item()) is not None:
            self._client.send("conversation.item.delete", item_id=item)

    def _commit(self) -> None:
        self._client.send("input_audio_buffer.commit")

    def _clear(self) -> None:
        self._client.send("input_audio_buffer.clear")

    def _set(self) -> None:
        vad = {"type": "server_vad", "silence_duration_ms": self._draw.choice([100, 200]),
               "interrupt_response": self._draw.random() < 0.7}  # fmt: skip
        heard = {"turn_detection": self._draw.choice([None, vad, vad])}
        tools = self._draw.choice([[], [TOOL]])
        session = {"type": "realtime", "audio": {"input": heard}, "tools": tools}
        self._client.send("session.update", session=session)

    def _wait(self) -> None:
        seen = len(self._client.events)
        self._client.await_more(seen, self._draw.choice([0.0, 0.05, 0.3]))

    def _result(self) -> None:
        calls = [
            event["call_id"] for event in list(self._client.events)
            if event["type"] == "response.function_call_arguments.done"
        ]  # fmt: skip
        if calls:
            item = {"type": "function_call_output", "call_id": calls[-1], "output": "done"}
            self._client.send("conversation.item.create", item=item)

    def _item(self) -> str | None:
        added = self._client.of_type("conversation.item.added")
        return self._draw.choice(added)["item"]["id"] if added else None


@pytest.mark.parametrize("seed", range(4))
def test_random_clients_find_no_fault_of_the_server(
    assistant: Assistant, spoken: Omni, seed: int
) -> None:
    """Only errors of the client, one end for each response; afterwards a turn is answered."""
    draw = random.Random(seed)
    client = Client(assistant, opens=LoudDetector)
    with scripted(spoken, lambda prompt: draw.choice(["four seven", CALL, None])):
        client.conversation.start()
        try:
            Player(client, seed).play(60)
            plain = {"tools": [], "audio": {"input": {"turn_detection": None}}}
            client.send("session.update", session={"type": "realtime", **plain})
            client.send("response.cancel")
            client.calm()
            client.write("Hello")
            client.send("response.create", response={"output_modalities": ["text"]})
            client.calm()
        finally:
            client.conversation.close()
    assert not client.faults
    errors = [event["error"] for event in client.of_type("error")]
    assert all(error["type"] == "invalid_request_error" for error in errors), errors
    begun = [event["response"]["id"] for event in client.of_type("response.created")]
    ended = [event["response"]["id"] for event in client.of_type("response.done")]
    assert begun == ended and len(begun) >= 2
    last = client.of_type("response.done")[-1]["response"]
    assert last["status"] in ("completed", "incomplete")
    assert assistant.load.sessions == 0 and assistant.load.running == 0


@pytest.mark.parametrize("seed", range(6))
def test_closing_at_any_moment_ends_everything(
    assistant: Assistant, spoken: Omni, seed: int
) -> None:
    client = Client(assistant, opens=LoudDetector)
    with scripted(spoken, lambda prompt: random.Random(seed).choice(["four seven", CALL])):
        client.conversation.start()
        Player(client, seed).play(8 + 3 * seed)
        closing = threading.Thread(target=client.conversation.close)
        closing.start()
        closing.join(WAIT_S)
        assert not closing.is_alive()
    assert not client.faults
    assert assistant.load.sessions == 0 and assistant.load.running == 0


def test_a_client_that_is_gone_ends_the_conversation(assistant: Assistant, spoken: Omni) -> None:
    """Its last event was the first sound of a reply; nobody has called `close` yet."""
    left = threading.Event()

    def send(event: dict[str, Any]) -> None:
        if left.is_set():
            raise Gone
        checked(event)
        if event["type"] == "response.output_audio.delta":
            left.set()
            raise Gone

    conversation = Conversation(assistant, send)
    with scripted(spoken, "four seven one two three"):
        conversation.start()
        content = [{"type": "input_text", "text": "Hello"}]
        item = {"type": "message", "role": "user", "content": content}
        conversation.receive({"type": "conversation.item.create", "item": item})
        conversation.receive({"type": "response.create"})
        assert left.wait(WAIT_S)
        conversation.receive({"type": "input_audio_buffer.clear"})
        conversation.close()
    assert conversation.has_ended
    assert assistant.load.sessions == 0 and assistant.load.running == 0
