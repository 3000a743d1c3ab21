"""`/v1/realtime` over a real socket, with OpenAI's own client and with raw frames."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.assistant.limits import Limits
from omnijet.runtime.assistant.record import TurnRecord
from omnijet.runtime.media.wav import pcm16
from omnijet.runtime.omni import Omni
from omnijet.runtime.serve.config import ServeConfig
from tests.runtime.realtime.client import MEDIA, base64_of, sound
from tests.runtime.realtime.lasting import make_lasting
from tests.scripted import scripted
from tests.serving import MODEL, serving

LONG = " ".join(["four seven one two three five"] * 6)
PIECE = 4800  # bytes: 100 ms
WAIT_S = 120.0


@pytest.fixture
def records() -> list[TurnRecord]:
    """What the assistant notes of its turns."""
    return []


@pytest.fixture
def url(spoken: Omni, records: list[TurnRecord]) -> Iterator[str]:
    with (
        Assistant(spoken, observe=records.append, keeps_content=True) as assistant,
        serving(assistant) as base,
    ):
        yield base


def socket_of(url: str) -> str:
    return f"ws{url.removeprefix('http')}/v1/realtime"


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    async with (
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client,
        client.realtime.connect(model=MODEL) as connection,
    ):
        yield connection


class Talk:
    """A person with OpenAI's client, who keeps the microphone open."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def until(self, *types: str) -> Any:
        async def read() -> Any:
            async for event in self._connection:
                assert event.type != "error", event
                if event.type in types:
                    return event
            raise AssertionError(f"the connection ended before {types}")

        return await asyncio.wait_for(read(), WAIT_S)

    async def speak(self, name: str) -> None:
        """Says a recording, with the pause that ends it, as fast as it can be sent."""
        data = pcm16(sound(name, before=0.2, after=0.9))
        for first in range(0, len(data), PIECE):
            piece = base64_of(data[first : first + PIECE])
            await self._connection.input_audio_buffer.append(audio=piece)

    async def answer(self) -> tuple[str, bytes, Any]:
        """Hears an answer to its end, and lets it sound; returns words, sound and the response."""
        heard = b""
        while True:
            event = await self.until("response.output_audio.delta", "response.done")
            if event.type == "response.done":
                break
            heard += base64.b64decode(event.delta)
        words = event.response.output[0].content[0].transcript
        await asyncio.sleep(len(heard) / 48_000 + 0.1)  # else the next speech would cut it
        return words, heard, event.response


def test_openais_client_holds_five_spoken_turns_with_a_barge_in(
    url: str, spoken: Omni, records: list[TurnRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third reply is cut in; the prompt after it has only the words that had sounded."""
    turns: list[str] = []

    def answerer(prompt: str) -> str | None:
        turns.append(prompt)
        return LONG if len(turns) == 3 else None

    make_lasting(spoken, monkeypatch, when=lambda: len(records) == 2)

    async def talk() -> tuple[list[str], Any, Any]:
        said = []
        async with connected(url) as connection:
            person = Talk(connection)
            await person.until("session.created")
            await person.speak("question.wav")
            words, heard, response = await person.answer()
            said.append(words)
            assert np.abs(np.frombuffer(heard, "<i2")).max() > 1000
            assert float(response.metadata["omnijet_speech_end_to_first_pcm_ms"]) > 0
            picture = base64_of((MEDIA / "drawing.png").read_bytes())
            part = {"type": "input_image", "image_url": f"data:image/png;base64,{picture}"}
            await connection.conversation.item.create(
                item={"type": "message", "role": "user", "content": [part]}
            )
            await person.speak("follow_up.wav")
            words, _, response = await person.answer()
            said.append(words)
            assert response.usage.input_token_details.image_tokens > 0
            await person.speak("question.wav")
            item_id = (await person.until("response.output_audio.delta")).item_id
            await person.speak("follow_up.wav")
            cut = await person.until("response.done")
            truncated = await person.until("conversation.item.truncated")
            assert truncated.item_id == item_id
            said.append((await person.answer())[0])
            await connection.conversation.item.retrieve(item_id=item_id)
            kept = (await person.until("conversation.item.retrieved")).item
            await person.speak("question.wav")
            said.append((await person.answer())[0])
        return said, cut.response, kept

    with scripted(spoken, answerer):
        said, cut, kept = asyncio.run(talk())
    assert said[0] == "four seven one" and len(said) == 4 and all(said)
    assert (cut.status, cut.status_details.reason) == ("cancelled", "turn_detected")
    heard = kept.content[0].transcript
    assert LONG.startswith(heard) and len(heard) < len(LONG)
    assert [record.finish_reason for record in records] == [
        "stop",
        "stop",
        "cancelled",
        "stop",
        "stop",
    ]
    for record in records[3:]:
        assert record.prompt is not None
        assert (f"assistant\n{heard}<|im_end|>" in record.prompt) == bool(heard)
        assert record.prompt.count("four seven one") - heard.count("four seven one") == 1
    assert records[4].prompt is not None and f"assistant\n{said[2]}<|im_end|>" in records[4].prompt


async def opened(url: str, **options: Any) -> Any:
    return await connect(socket_of(url), max_size=None, **options)


async def error_of(socket: Any) -> dict[str, Any]:
    while True:
        event = json.loads(await asyncio.wait_for(socket.recv(), WAIT_S))
        if event["type"] == "error":
            error: dict[str, Any] = event["error"]
            return error


def test_garbage_is_told_and_in_the_end_hung_up_on(url: str) -> None:
    wrong = [b"\x00\x01", "", "{", "[1]", '"text"', '{"type": NaN}', "[" * 500, '{"a":1,"a":2}']

    async def talk() -> None:
        async with await opened(url) as socket:
            for message in wrong:
                await socket.send(message)
                assert (await error_of(socket))["code"].startswith("invalid_")
            await socket.send(
                json.dumps({"type": "session.update", "session": {"type": "realtime"}})
            )
            for _ in range(16):
                await socket.send("{")
            with pytest.raises(ConnectionClosed):
                while True:
                    await asyncio.wait_for(socket.recv(), WAIT_S)
            assert socket.close_code == 1008

    asyncio.run(talk())


def test_another_model_is_refused_by_name(url: str) -> None:
    async def talk() -> None:
        async with await connect(f"{socket_of(url)}?model=gpt-9") as socket:
            error = await error_of(socket)
            assert error["code"] == "model_not_found" and "gpt-9" in error["message"]
            await asyncio.wait_for(socket.wait_closed(), WAIT_S)
            assert socket.close_code == 1008

    asyncio.run(talk())


def test_a_key_is_wanted_in_a_header_or_a_subprotocol(spoken: Omni) -> None:
    config = ServeConfig(model=MODEL, drain_s=0, api_key="right")
    hidden = "openai-insecure-api-key."

    async def talk(base: str) -> None:
        for options in (
            {},
            {"additional_headers": {"Authorization": "Bearer wrong"}},
            {"subprotocols": ["realtime", f"{hidden}wrong"]},
        ):
            with pytest.raises(InvalidStatus) as refused:
                await opened(base, **options)
            assert refused.value.response.status_code == 401
        for options in (
            {"additional_headers": {"Authorization": "Bearer right"}},
            {"subprotocols": ["realtime", f"{hidden}right"]},
        ):
            async with await opened(base, **options) as socket:
                assert json.loads(await socket.recv())["type"] == "session.created"
                assert socket.subprotocol == ("realtime" if "subprotocols" in options else None)

    with Assistant(spoken) as assistant, serving(assistant, config) as base:
        asyncio.run(talk(base))


def test_pages_of_other_origins_are_refused(url: str) -> None:
    async def talk() -> None:
        with pytest.raises(InvalidStatus) as refused:
            await opened(url, origin="http://evil.example")
        assert refused.value.response.status_code == 403
        async with await opened(url, origin=url) as socket:
            assert json.loads(await socket.recv())["type"] == "session.created"

    asyncio.run(talk())


def test_a_full_server_says_when_to_come_again(spoken: Omni) -> None:
    async def talk(base: str) -> None:
        async with await opened(base) as first:
            assert json.loads(await first.recv())["type"] == "session.created"
            with pytest.raises(InvalidStatus) as refused:
                await opened(base)
            assert refused.value.response.status_code == 503
            assert int(refused.value.response.headers["Retry-After"]) >= 1
            async with await opened(base, origin=base) as page:  # which sees no status
                assert (await error_of(page))["code"] == "busy_sessions"
                await asyncio.wait_for(page.wait_closed(), WAIT_S)
                assert page.close_code == 1013

    with Assistant(spoken, Limits(sessions=1)) as assistant, serving(assistant) as base:
        asyncio.run(talk(base))


def test_clients_that_leave_in_the_middle_leave_nothing(
    spoken: Omni, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At ten moments of a turn; then nobody sits at the assistant, and no thread is left."""
    make_lasting(spoken, monkeypatch)

    async def leave(base: str, number: int) -> None:
        socket = await opened(base)
        await socket.recv()
        data = pcm16(sound("question.wav", before=0.1, after=0.9))
        for first in range(0, len(data) * min(number, 5) // 5, PIECE):
            piece = base64.b64encode(data[first : first + PIECE]).decode()
            await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": piece}))
        wanted = ["input_audio_buffer.speech_started", "response.created",
                  "response.output_audio.delta"][: max(0, number - 6)]  # fmt: skip
        while wanted:
            if json.loads(await asyncio.wait_for(socket.recv(), WAIT_S))["type"] == wanted[0]:
                wanted.pop(0)
        if number % 2:
            socket.transport.abort()
        await socket.close()

    with Assistant(spoken) as assistant, serving(assistant) as base:
        for number in range(10):
            asyncio.run(leave(base, number))
        for _ in range(int(WAIT_S * 50)):
            if not assistant.load.sessions:
                break
            asyncio.run(asyncio.sleep(0.02))
        assert assistant.load.sessions == 0 and assistant.load.running == 0
        assert httpx.get(f"{base}/health").status_code == 200
