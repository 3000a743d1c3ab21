"""Streams of chat completions: early sound, slow readers, clients that leave, faults."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import openai
import pytest

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.assistant.busy import Busy
from omnijet.runtime.assistant.limits import Limits
from omnijet.runtime.assistant.record import TurnRecord
from omnijet.runtime.omni import Omni
from omnijet.runtime.serve.bridged import Hands
from tests.scripted import scripted
from tests.serving import MODEL, serving

PATIENCE_S = 120.0
LONG = " ".join(["four seven one"] * 60)
SPOKEN = {"modalities": ["text", "audio"], "audio": {"voice": "Chelsie", "format": "pcm16"}}


class Records:
    """An observer that can be waited for."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.found: list[TurnRecord] = []

    def __call__(self, record: TurnRecord) -> None:
        with self._changed:
            self.found.append(record)
            self._changed.notify_all()

    def first(self) -> TurnRecord:
        """Waits for the first turn to end."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.found, PATIENCE_S), "no turn ended"
            return self.found[0]


@contextmanager
def served(omni: Omni, **limits: Any) -> Iterator[tuple[str, Assistant, Records]]:
    records = Records()
    with Assistant(omni, Limits(**limits), records) as assistant, serving(assistant) as url:
        yield url, assistant, records


def body(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "seed": 1, **fields}


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line[6:])


def test_sound_comes_before_the_text_is_whole(spoken: Omni) -> None:
    with served(spoken) as (url, _, records), scripted(spoken, LONG):
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        order, text = [], ""
        stream: Any = client.chat.completions.create(**body(stream=True, **SPOKEN))
        with client, stream:
            for piece in stream:
                audio = getattr(piece.choices[0].delta, "audio", None) if piece.choices else None
                if audio is not None and audio.data:
                    order.append("sound")
                    assert base64.b64decode(audio.data)
                elif audio is not None and audio.transcript:
                    order.append("text")
                    text += audio.transcript
                if "sound" in order and order[-1] == "text":
                    break  # text after the first sound: that is what is to be shown
        assert text and len(text) < len(LONG) and LONG.startswith(text)
        assert order.index("sound") < len(order) - 1
        assert records.first().finish_reason == "cancelled"  # the client left


@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_client_that_leaves_ends_its_turn_at_once(spoken: Omni, is_streamed: bool) -> None:
    def answer(prompt: str) -> str:
        return LONG if "Tell me" in prompt else "two"

    with served(spoken, turns=1) as (url, assistant, records), scripted(spoken, answer):
        host, _, port = url.removeprefix("http://").partition(":")
        asked = body(stream=is_streamed, **_form(is_streamed))
        asked["messages"] = [{"role": "user", "content": "Tell me a lot."}]
        content = json.dumps(asked).encode()
        with socket.create_connection((host, int(port)), PATIENCE_S) as raw:
            raw.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                b"Content-Type: application/json\r\n"
                + f"Content-Length: {len(content)}\r\n\r\n".encode()
                + content
            )
            if is_streamed:
                assert raw.recv(1000).startswith(b"HTTP/1.1 200")
            else:
                _until(lambda: assistant.load.running == 1)
        record = records.first()
        assert record.finish_reason == "cancelled" and record.text_tokens < 180
        _until(lambda: assistant.load.running == 0)
        # the place is free: the next one is answered
        reply = httpx.post(f"{url}/v1/chat/completions", json=body(), timeout=PATIENCE_S).json()
        assert reply["choices"][0]["message"]["content"] == "two"


def _form(is_streamed: bool) -> dict[str, Any]:
    return SPOKEN if is_streamed else {**SPOKEN, "audio": {"voice": "Chelsie", "format": "wav"}}


def _until(holds: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(int(PATIENCE_S * 100)):
        if holds():
            return
        waiting.wait(0.01)
    raise AssertionError("it never came to be")


def test_a_client_that_waits_in_the_queue_and_leaves_is_forgotten(spoken: Omni) -> None:
    with served(spoken, turns=1) as (url, assistant, _), scripted(spoken, LONG), httpx.stream(
        "POST", f"{url}/v1/chat/completions", json=body(stream=True, **SPOKEN),
        timeout=PATIENCE_S,
    ) as first:  # fmt: skip
        assert first.status_code == 200
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/v1/chat/completions", json=body(), timeout=0.5)
        _until(lambda: assistant.load.waiting == 0)
        assert assistant.load.running == 1


def test_a_full_queue_is_told_with_a_time_to_come_back(spoken: Omni) -> None:
    asked = body(stream=True, **SPOKEN)
    with (
        served(spoken, turns=1, waiting=0) as (url, _, _),
        scripted(spoken, LONG),
        httpx.stream("POST", f"{url}/v1/chat/completions", json=asked, timeout=PATIENCE_S) as first,
    ):
        assert first.status_code == 200
        refused = httpx.post(f"{url}/v1/chat/completions", json=body(), timeout=PATIENCE_S)
        assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["code"] == "busy_queue"


def test_a_limit_of_tokens_ends_a_stream(spoken: Omni) -> None:
    with served(spoken) as (url, _, records), scripted(spoken, LONG):
        asked = body(stream=True, max_completion_tokens=40)
        with httpx.stream(
            "POST", f"{url}/v1/chat/completions", json=asked, timeout=PATIENCE_S
        ) as answer:
            found = list(events(answer.iter_lines()))
        text = "".join(one["choices"][0]["delta"].get("content", "") for one in found)
        assert text and LONG.startswith(text)
        assert found[-1]["choices"][0]["finish_reason"] == "length"
        assert records.first().finish_reason == "length" and records.first().text_tokens == 40


def test_a_fault_before_the_first_token_has_a_status(spoken: Omni) -> None:
    with served(spoken) as (url, _, _):
        long = body(messages=[{"role": "user", "content": "one " * 40_000}], stream=True)
        refused = httpx.post(f"{url}/v1/chat/completions", json=long, timeout=PATIENCE_S)
        assert refused.status_code == 400
        assert "context" in refused.text or "fit" in refused.text, refused.text


def test_a_fault_within_a_stream_is_told_as_an_event(
    spoken: Omni, monkeypatch: pytest.MonkeyPatch
) -> None:
    from omnijet.runtime.assistant.turn import AssistantTurn

    real = AssistantTurn.stream

    def broken(self: AssistantTurn, *args: Any, **options: Any) -> Iterator[Any]:
        yield next(real(self, *args, **options))
        raise ValueError("the secret")

    monkeypatch.setattr(AssistantTurn, "stream", broken)
    with (
        served(spoken) as (url, _, _),
        httpx.stream(
            "POST", f"{url}/v1/chat/completions", json=body(stream=True), timeout=PATIENCE_S
        ) as answer,
    ):
        lines = list(answer.iter_lines())
    found = list(events(iter(lines)))
    assert answer.status_code == 200 and found[-1]["error"]["type"] == "server_error"
    assert "secret" not in json.dumps(found) and "data: [DONE]" not in lines


def test_requests_in_hand_are_bounded() -> None:
    hands = Hands(2)
    hands.take()
    hands.take()
    with pytest.raises(Busy) as found:
        hands.take()
    assert found.value.reason == "queue"
    hands.give()
    hands.take()
