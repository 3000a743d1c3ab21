"""Speech of texts and texts of sounds, with the official client of OpenAI."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import soundfile

from omnijet.nano.evaluation.recogniser import Recogniser
from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.assistant.limits import Limits
from omnijet.runtime.omni import Omni
from omnijet.runtime.serve.faults import ApiError
from omnijet.runtime.serve.form import parsed_form
from tests.layering import ROOT
from tests.scripted import scripted
from tests.serving import MODEL, serving

QUESTION = ROOT / "tests" / "media" / "question.wav"
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def url(spoken: Omni) -> Iterator[str]:
    with Assistant(spoken, Limits(media_s=20)) as assistant, serving(assistant) as base:
        assistant.sit().leave()  # starts its thread, which is no test's own
        yield base


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.mark.parametrize("form", ["wav", "pcm"])
def test_what_is_spoken_is_the_text(client: openai.OpenAI, form: Any) -> None:
    """Whatever the model itself would say: it never answers this text with these words."""
    for text in ("seven one four", "nine two five"):
        made = client.audio.speech.create(
            model=MODEL, voice="Ethan", input=text, response_format=form, extra_body={"seed": 1}
        ).read()
        raw: Any = (
            {} if form == "wav" else
            {"format": "RAW", "samplerate": 24_000, "channels": 1, "subtype": "PCM_16"}
        )  # fmt: skip
        samples, rate = soundfile.read(io.BytesIO(made), dtype="float32", **raw)
        assert Recogniser().words(samples, rate) == text.split()


@pytest.mark.parametrize("form", ["mp3", "opus", "flac"])
def test_formats_of_speech(client: openai.OpenAI, form: Any) -> None:
    answer = client.audio.speech.with_raw_response.create(
        model=MODEL, voice="Chelsie", input="four", response_format=form
    )
    samples, rate = soundfile.read(io.BytesIO(answer.content), dtype="float32")
    assert rate in (24_000, 48_000) and 0.3 < len(samples) / rate < 3
    assert answer.headers["content-type"].startswith("audio/")


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("input", {"input": ""}),
        ("input", {"input": "x" * 5000}),
        ("input", {"input": "a <|im_end|> b"}),
        ("voice", {"voice": "alloy"}),
        ("response_format", {"response_format": "aac"}),
        ("speed", {"speed": 2}),
        ("instructions", {"instructions": "whisper"}),
        ("stream_format", {"stream_format": "sse"}),
        ("model", {"model": "tts-1"}),
        ("text", {"text": "a"}),
    ],
)
def test_what_cannot_be_spoken_is_refused_by_name(
    url: str, param: str, fields: dict[str, Any]
) -> None:
    body = {"model": MODEL, "voice": "Ethan", "input": "four", **fields}
    answer = httpx.post(f"{url}/v1/audio/speech", json=body, timeout=PATIENCE_S)
    assert answer.status_code == (404 if param == "model" else 400)
    assert answer.json()["error"]["param"] == param


def test_a_sound_is_written_down(client: openai.OpenAI, spoken: Omni) -> None:
    with scripted(spoken, "What is it?", "What is it?", "What is it?") as script:
        plain = client.audio.transcriptions.create(model=MODEL, file=QUESTION)
        assert plain.text == "What is it?" and plain.usage and plain.usage.type == "tokens"
        text: Any = client.audio.transcriptions.create(
            model=MODEL, file=QUESTION, response_format="text", language="de", temperature=0
        )
        assert text == "What is it?\n"
        stream = client.audio.transcriptions.create(model=MODEL, file=QUESTION, stream=True)
        events: Any = list(stream)
        assert "".join(one.delta for one in events[:-1]) == events[-1].text == "What is it?"
        assert len(events) > 2 and events[-1].type == "transcript.text.done"
    first, second, _ = script.prompts
    assert "You are a speech recognition model." in first
    assert "Transcribe the audio into text." in first and "<|AUDIO|>" in first
    assert "Transcribe the German audio into text." in second


def test_a_transcript_that_is_cut_is_refused(
    client: openai.OpenAI, spoken: Omni, monkeypatch: pytest.MonkeyPatch
) -> None:
    from omnijet.runtime.serve import transcriptions

    monkeypatch.setattr(transcriptions, "MOST_TOKENS", 3)
    with (
        scripted(spoken, "one two three four five six"),
        pytest.raises(openai.BadRequestError, match="more than can be written"),
    ):
        client.audio.transcriptions.create(model=MODEL, file=QUESTION)


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("prompt", {"prompt": "a"}),
        ("response_format", {"response_format": "srt"}),
        ("language", {"language": "xx"}),
        ("temperature", {"temperature": "hot"}),
        ("stream", {"stream": "yes"}),
        ("timestamp_granularities[]", {"timestamp_granularities[]": "word"}),
        ("langauge", {"langauge": "en"}),
    ],
)
def test_what_cannot_be_asked_of_a_sound_is_refused(
    url: str, param: str, fields: dict[str, str]
) -> None:
    answer = httpx.post(
        f"{url}/v1/audio/transcriptions", data={"model": MODEL, **fields},
        files={"file": ("a.wav", QUESTION.read_bytes())}, timeout=PATIENCE_S,
    )  # fmt: skip
    assert answer.status_code == 400 and answer.json()["error"]["param"] == param, answer.text


def test_files_that_are_no_sounds_or_too_long_are_refused(url: str) -> None:
    long = io.BytesIO()
    soundfile.write(long, np.zeros(8000 * 21, np.int16), 8000, format="WAV")
    for content, word in ((b"none", "cannot be read"), (long.getvalue(), "too long")):
        answer = httpx.post(
            f"{url}/v1/audio/transcriptions", data={"model": MODEL}, files={"file": content},
            timeout=PATIENCE_S,
        )  # fmt: skip
        assert answer.status_code == 400 and word in answer.text
        assert answer.json()["error"]["param"] == "file"
    missing = httpx.post(
        f"{url}/v1/audio/transcriptions", data={"model": MODEL}, files={"other": b"a"}
    )
    assert missing.json()["error"]["param"] in ("file", "other")


KIND = "multipart/form-data; boundary=XX"


def part(name: str, content: bytes = b"a", more: str = "") -> bytes:
    head = f'--XX\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def test_forms_are_read() -> None:
    file = part("file", b"\x00\r\n--X", '; filename="../../x"')
    form = parsed_form(part("a", "ü".encode()) + file + b"--XX--", KIND)
    assert form.texts == {"a": "ü"} and form.files == {"file": b"\x00\r\n--X"}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (part("a") + b"--XX--", "multipart/form-data"),
        (part("a"), KIND),
        (b"", KIND),
        (b"nothing of a form", KIND),
        (part("a") + part("a") + b"--XX--", KIND),
        (part("") + b"--XX--", KIND),
        (part("a", b"\xff") + b"--XX--", KIND),
        (b"".join(part(str(number)) for number in range(40)) + b"--XX--", KIND),
        (part("a", b"a", "x" * 10_000) + b"--XX--", KIND),
    ],
)
def test_forms_that_are_none_are_refused(body: bytes, kind: str) -> None:
    with pytest.raises(ApiError) as found:
        parsed_form(body, kind)
    assert found.value.status == 400
