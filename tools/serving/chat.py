"""A client of `/v1/chat/completions`, with and without a stream."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import soundfile

from omnijet.runtime.prompt.chat import SPEECH_SYSTEM_PROMPT
from tools.serving.heard import RATE_HZ, Heard
from tools.serving.questions import Question
from tools.serving.service import MODEL, Service

PATH = "/v1/chat/completions"
OVERLOADED = (429, 503)


def body(question: Question, streams: bool = False, earlier: Sequence[Any] = ()) -> dict[str, Any]:
    """Returns the request for a spoken answer to a spoken question."""
    sound = {"type": "input_audio", "input_audio": {"data": question.wav, "format": "wav"}}
    found: dict[str, Any] = {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": SPEECH_SYSTEM_PROMPT},
            *earlier,
            {"role": "user", "content": [sound]},
        ],
        "modalities": ["text", "audio"],
        "audio": {"voice": "Chelsie", "format": "pcm16" if streams else "wav"},
        "temperature": 0,
    }
    if streams:
        found |= {"stream": True, "stream_options": {"include_usage": True}}
    return found


def client(server: Service) -> httpx.AsyncClient:
    """Returns a client of a server, who is patient."""
    return httpx.AsyncClient(base_url=server.url, timeout=300)


async def ask(http: httpx.AsyncClient, question: Question, client: str, streams: bool) -> Heard:
    """Asks and reads the answer to its end; what goes wrong is noted in what is returned."""
    heard = Heard(client, "chat stream" if streams else "chat", question.answer)
    began = time.monotonic()
    try:
        if streams:
            await _stream(http, question, heard, began)
        else:
            await _whole(http, question, heard, began)
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        heard.faults.append(f"{type(error).__name__}: {error}")
    heard.total_s = time.monotonic() - began
    if heard.is_whole:
        heard.judge()
    return heard


async def _whole(http: httpx.AsyncClient, question: Question, heard: Heard, began: float) -> None:
    answer = await http.post(PATH, json=body(question))
    if not _is_taken(answer, heard):
        return
    data = answer.json()
    (choice,) = data["choices"]
    if choice["finish_reason"] != "stop":
        heard.faults.append(f"finished by {choice['finish_reason']}")
    audio = choice["message"]["audio"]
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(audio["data"])), dtype="int16")
    if rate != RATE_HZ:
        heard.faults.append(f"sound at {rate} Hz")
    heard.pcm, heard.text = samples.tobytes(), audio["transcript"]
    heard.first_pcm_s = time.monotonic() - began
    heard.ids += [data["id"], audio["id"]]
    _use(data["usage"], heard)


async def _stream(http: httpx.AsyncClient, question: Question, heard: Heard, began: float) -> None:
    async with http.stream("POST", PATH, json=body(question, streams=True)) as answer:
        if not _is_taken(answer, heard):
            await answer.aread()
            return
        ids: set[str] = set()
        audio_ids: set[str] = set()
        finished: list[str] = []
        content, transcript = "", ""
        async for chunk in _chunks(answer, heard):
            ids.add(chunk["id"])
            if chunk.get("usage"):
                _use(chunk["usage"], heard)
            for choice in chunk["choices"]:
                if finished:
                    heard.faults.append("a delta after the end")
                delta, audio = choice["delta"], choice["delta"].get("audio") or {}
                if "id" in audio:
                    audio_ids.add(audio["id"])
                content += delta.get("content") or ""
                transcript += audio.get("transcript") or ""
                if audio.get("data"):
                    heard.first_pcm_s = heard.first_pcm_s or time.monotonic() - began
                    heard.pcm += base64.b64decode(audio["data"], validate=True)
                if choice.get("finish_reason"):
                    finished.append(choice["finish_reason"])
    heard.text = transcript or content
    heard.ids += [*ids, *audio_ids]
    if len(ids) != 1 or len(audio_ids) != 1:
        heard.faults.append(f"a stream with {len(ids)} ids and {len(audio_ids)} of sound")
    if finished != ["stop"]:
        heard.faults.append(f"finished by {finished}")


async def _chunks(answer: httpx.Response, heard: Heard) -> AsyncIterator[Any]:
    """Yields the objects of a stream, which must end as such streams do."""
    is_done = False
    async for line in answer.aiter_lines():
        if not line.startswith("data: "):
            continue
        if is_done:
            heard.faults.append("a line after [DONE]")
        if line == "data: [DONE]":
            is_done = True
            continue
        chunk = json.loads(line[6:])
        if "error" in chunk:
            heard.faults.append(f"an error in the stream: {chunk['error']}")
            continue
        yield chunk
    if not is_done:
        heard.faults.append("a stream without an end")


def _is_taken(answer: httpx.Response, heard: Heard) -> bool:
    """Returns whether a request was taken; notes a refusal, or a fault."""
    if answer.status_code in OVERLOADED:
        heard.refused(answer.headers.get("retry-after"))
    elif answer.status_code != 200:
        heard.faults.append(f"status {answer.status_code}")
    return answer.status_code == 200


def _use(usage: dict[str, Any], heard: Heard) -> None:
    """Notes how many codes a server says that it has spoken."""
    heard.codes = (usage.get("completion_tokens_details") or {}).get("audio_tokens")
