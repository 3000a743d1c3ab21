"""Chat completions with the official client of OpenAI, against a real server."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
import soundfile
import soxr

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.media.sound_bytes import sound_bytes
from omnijet.runtime.omni import Omni
from tests.layering import ROOT
from tests.serving import MODEL, serving

QUESTION = (ROOT / "tests" / "media" / "question.wav").read_bytes()
ANSWER = "four seven one"
SPOKEN: dict[str, Any] = {
    "modalities": ["text", "audio"],
    "audio": {"voice": "Chelsie", "format": "pcm16"},
    "seed": 1,
}
SPOKEN_WAV: dict[str, Any] = {**SPOKEN, "audio": {"voice": "Chelsie", "format": "wav"}}


@pytest.fixture(scope="module")
def url(spoken: Omni) -> Iterator[str]:
    with Assistant(spoken) as assistant, serving(assistant) as base:
        assistant.sit().leave()  # starts its thread, which is no test's own
        yield base


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as made:
        yield made


def heard(content: bytes = QUESTION, form: str = "wav") -> list[Any]:
    data = base64.b64encode(content).decode()
    part = {"type": "input_audio", "input_audio": {"data": data, "format": form}}
    return [{"role": "user", "content": [part]}]


def test_a_spoken_question_is_answered_in_speech(client: openai.OpenAI) -> None:
    asked: Any = {**SPOKEN, "audio": {"voice": "Chelsie", "format": "wav"}}
    reply = client.chat.completions.create(model=MODEL, messages=heard(), **asked)
    (choice,) = reply.choices
    assert choice.message.audio is not None and choice.message.content is None
    assert choice.message.audio.transcript == ANSWER and choice.finish_reason == "stop"
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(choice.message.audio.data)))
    assert rate == 24_000 and len(samples) > 12_000 and abs(samples).max() > 0.05
    used = reply.usage
    assert used is not None and used.completion_tokens_details and used.prompt_tokens_details
    assert used.completion_tokens_details.audio_tokens == round(len(samples) / 480)
    assert used.prompt_tokens_details.audio_tokens
    assert used.total_tokens == used.prompt_tokens + used.completion_tokens


def test_streamed_is_what_is_not(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model=MODEL, messages=heard(), stream=False, **SPOKEN)
    spoken = whole.choices[0].message.audio
    text, sound, finish, used = "", b"", None, None
    stream = client.chat.completions.create(
        model=MODEL, messages=heard(), stream=True, stream_options={"include_usage": True}, **SPOKEN
    )
    for piece in stream:
        used = piece.usage or used
        for choice in piece.choices:
            finish = choice.finish_reason or finish
            audio = choice.delta.audio  # type: ignore[attr-defined]
            if audio is not None:
                text += audio.transcript or ""
                sound += base64.b64decode(audio.data or "")
    assert spoken is not None and text == spoken.transcript == ANSWER
    assert sound == base64.b64decode(spoken.data)
    assert finish == "stop" and used is not None and whole.usage is not None
    assert used.completion_tokens == whole.usage.completion_tokens


def test_health_and_models(url: str, client: openai.OpenAI) -> None:
    assert httpx.get(f"{url}/health").json() == {"status": "ok"}
    assert httpx.get(f"{url}/ready").json() == {"status": "ready"}
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4o")


MEDIA = ROOT / "tests" / "media"


def url_of(kind: str, name: str) -> str:
    return f"data:{kind};base64,{base64.b64encode((MEDIA / name).read_bytes()).decode()}"


@pytest.mark.parametrize(
    ("part", "file"),
    [
        ({"type": "image_url", "image_url": {"url": url_of("image/png", "drawing.png")}}, "image"),
        ({"type": "video_url", "video_url": {"url": url_of("video/mp4", "clip.mp4")}}, "video"),
        ({"type": "audio_url", "audio_url": {"url": url_of("audio/wav", "question.wav")}}, "audio"),
    ],
)  # fmt: skip
def test_media_are_seen_and_heard_as_files_are(
    client: openai.OpenAI, spoken: Omni, part: Any, file: str
) -> None:
    names = {"image": "drawing.png", "video": "clip.mp4", "audio": "question.wav"}
    whole = spoken.generate(
        [{"role": "user", "content": [{"type": file, file: str(MEDIA / names[file])},
                                      {"type": "text", "text": "What is it?"}]}],
        speech=False,
    )  # fmt: skip
    asked: Any = [{"role": "user", "content": [part, {"type": "text", "text": "What is it?"}]}]
    reply = client.chat.completions.create(model=MODEL, messages=asked)
    assert reply.choices[0].message.content == whole.text != ""
    assert reply.usage and reply.usage.prompt_tokens == whole.prompt_tokens
    details: Any = reply.usage.prompt_tokens_details
    heard, seen = details.audio_tokens, details.image_tokens
    assert (heard > 0) == (file != "image") and (seen > 0) == (file != "audio")


@pytest.mark.parametrize("form", ["mp3", "flac", "pcm16"])
def test_forms_of_sound(client: openai.OpenAI, form: Any) -> None:
    samples, rate = soundfile.read(io.BytesIO(QUESTION), dtype="float32")
    content = sound_bytes(soxr.resample(samples, rate, 24_000), 24_000, form)
    reply = client.chat.completions.create(model=MODEL, messages=heard(content, form))
    assert reply.choices[0].message.content == ANSWER


def test_a_conversation_goes_on_from_its_caches(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(model=MODEL, messages=heard(), **SPOKEN_WAV)
    audio = first.choices[0].message.audio
    assert audio is not None and first.usage is not None
    follow: Any = [
        *heard(),
        {"role": "assistant", "audio": {"id": audio.id}},
        *heard((MEDIA / "follow_up.wav").read_bytes()),
    ]
    second = client.chat.completions.create(model=MODEL, messages=follow, **SPOKEN_WAV)
    assert second.usage and second.usage.prompt_tokens_details
    assert (second.usage.prompt_tokens_details.cached_tokens or 0) >= first.usage.prompt_tokens
    written: Any = [*heard(), {"role": "assistant", "content": audio.transcript}, follow[-1]]
    third = client.chat.completions.create(model=MODEL, messages=written, **SPOKEN_WAV)
    said, again = second.choices[0].message.audio, third.choices[0].message.audio
    assert said and again and said.transcript == again.transcript != ""
