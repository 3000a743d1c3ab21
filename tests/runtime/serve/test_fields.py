"""Every field of a request is read, or refused by its name; nothing is fetched or opened."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import pytest
import soundfile
from PIL import Image

import omnijet.runtime.serve.fields as fields_module
from omnijet.runtime.assistant.limits import Limits
from omnijet.runtime.prompt.chat import SPEECH_SYSTEM_PROMPT
from omnijet.runtime.prompt.tokenizer import Tokenizer
from omnijet.runtime.serve.chat.conversation import ConversationReader
from omnijet.runtime.serve.chat.media import MediaReader
from omnijet.runtime.serve.chat.request import MOST_LETTERS_ASKED, ChatRequest, RequestReader
from omnijet.runtime.serve.chat.spoken import MOST_REPLIES, SpokenReplies
from omnijet.runtime.serve.faults import ApiError
from omnijet.runtime.serve.fields import MOST_FAULTS, root_of
from tests.layering import ROOT

MEDIA = ROOT / "tests" / "media"


class Spellings:
    """Knows the control tokens of the model, as far as these tests do."""

    special_tokens: ClassVar[dict[str, int]] = {"<|im_start|>": 1, "<|im_end|>": 2}

    def encode(self, text: str) -> list[int]:
        return []


TOKENIZER = cast(Tokenizer, Spellings())
LIMITS = Limits(media_s=5, pixels=1_000_000)


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def wav(seconds: float, form: str = "WAV") -> bytes:
    made = io.BytesIO()
    soundfile.write(made, np.zeros(int(8000 * seconds), np.int16), 8000, format=form)
    return made.getvalue()


def picture(width: int = 40, height: int = 30) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (width, height)).save(made, "PNG")
    return made.getvalue()


WAV = encoded(wav(1))
PNG = "data:image/png;base64," + encoded(picture())
CLIP = "data:video/mp4;base64," + encoded((MEDIA / "clip.mp4").read_bytes())


def read(spoken: SpokenReplies | None = None, voices: tuple[str, ...] = ("Chelsie", "Ethan"),
         limits: Limits = LIMITS, **fields: Any) -> ChatRequest:  # fmt: skip
    reader = RequestReader(
        ConversationReader(MediaReader(limits), spoken or SpokenReplies(), TOKENIZER),
        "nano",
        voices,
        "exact",
    )
    whole = {"model": "nano", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return reader.read(root_of(json.dumps(whole).encode()))


def refused(**fields: Any) -> ApiError:
    with pytest.raises(ApiError) as found:
        read(**fields)
    return found.value


def user(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("frequency_penalty", 0.5), ("presence_penalty", 1), ("logit_bias", {"1": 2}),
        ("logprobs", True), ("top_logprobs", 3), ("store", True), ("metadata", {"a": "b"}),
        ("response_format", {"type": "json_object"}), ("service_tier", "flex"),
        ("functions", []), ("function_call", "auto"), ("prediction", {}), ("user", "me"),
        ("safety_identifier", "x"), ("prompt_cache_key", "x"), ("reasoning_effort", "low"),
        ("verbosity", "low"), ("web_search_options", {}), ("n", 2), ("n", True),
        ("temperatur", 1), ("stream_options", {"include_usage": True}),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_refused_by_name(field: str, value: Any) -> None:
    error = refused(**{field: value})
    assert error.status == 400 and error.param == field and field in error.message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("frequency_penalty", 0), ("presence_penalty", 0.0), ("n", 1), ("logprobs", False),
        ("store", False), ("response_format", {"type": "text"}), ("service_tier", "auto"),
        ("user", None), ("stop", None), ("tools", None), ("temperature", None), ("stream", False),
        ("modalities", ["text"]), ("audio", None), ("logit_bias", {}), ("metadata", None),
    ],
)  # fmt: skip
def test_what_asks_for_nothing_passes(field: str, value: Any) -> None:
    assert read(**{field: value}).question == "Hi"


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("temperature", {"temperature": "hot"}),
        ("temperature", {"temperature": 2.5}),
        ("temperature", {"temperature": True}),
        ("top_p", {"top_p": 0}),
        ("stop", {"stop": 5}),
        ("stop", {"stop": ""}),
        ("stop[1]", {"stop": ["a", None]}),
        ("stop", {"stop": ["a"] * 17}),
        ("seed", {"seed": -1}),
        ("seed", {"seed": 1.5}),
        ("max_tokens", {"max_tokens": 0}),
        ("max_tokens", {"max_tokens": 5, "max_completion_tokens": 5}),
        ("stream", {"stream": "yes"}),
        ("preset", {"preset": "loud"}),
        ("modalities", {"modalities": ["audio"]}),
        ("modalities[1]", {"modalities": ["text", "image"]}),
        ("modalities", {"modalities": "text"}),
        ("audio", {"modalities": ["text", "audio"]}),
        ("audio", {"audio": {"voice": "Chelsie", "format": "wav"}}),
        ("audio.voice", {"modalities": ["text", "audio"],
                         "audio": {"voice": "alloy", "format": "wav"}}),
        ("audio.format", {"modalities": ["text", "audio"],
                          "audio": {"voice": "Ethan", "format": "aac"}}),
        ("audio.format", {"modalities": ["text", "audio"], "stream": True,
                          "audio": {"voice": "Ethan", "format": "mp3"}}),
        ("mm_processor_kwargs.fsp", {"mm_processor_kwargs": {"fsp": 1}}),
        ("messages", {"messages": "Hi"}),
        ("messages", {"messages": []}),
        ("messages[0]", {"messages": ["Hi"]}),
        ("messages[0].role", {"messages": [{"role": "robot", "content": "Hi"}]}),
        ("messages[0].content", {"messages": [{"role": "user"}]}),
        ("messages[0].name", {"messages": [{"role": "user", "content": "Hi", "name": "Ann"}]}),
        ("messages[1].role", {"messages": [{"role": "user", "content": "Hi"},
                                           {"role": "assistant", "content": "Ho"}]}),
        ("messages[0].content[0]", user("Hi")),
        ("messages[0].content", user()),
        ("messages[0].content[0].type", user({"type": "input_text", "text": "Hi"})),
        ("messages[0].content[0].type", user({"type": "file", "file": {"file_id": "a"}})),
        ("messages[0].content[0].text", user({"type": "text", "text": 5})),
        ("messages[0].content[0].txt", user({"type": "text", "text": "Hi", "txt": "Hi"})),
        ("messages[0].content[0].input_audio.data",
         user({"type": "input_audio", "input_audio": {"data": "!", "format": "wav"}})),
        ("messages[0].content[0].input_audio.data",
         user({"type": "input_audio", "input_audio": {"data": 5, "format": "wav"}})),
        ("messages[0].content[0].input_audio.format",
         user({"type": "input_audio", "input_audio": {"data": WAV, "format": "midi"}})),
        ("messages[0].content[1].image_url.url",
         user({"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": ""}})),
        ("messages[0].content[0].image_url.detail",
         user({"type": "image_url", "image_url": {"url": PNG, "detail": "best"}})),
        ("messages[0].content[0].image_url",
         user({"type": "image_url", "image_url": PNG})),
        ("messages[0].content[0].type",
         {"messages": [{"role": "system", "content": [{"type": "image_url"}]},
                       {"role": "user", "content": "Hi"}]}),
        ("messages[0].audio.id",
         {"messages": [{"role": "assistant", "audio": {"id": "audio_none"}},
                       {"role": "user", "content": "Hi"}]}),
        ("messages[0].function_call",
         {"messages": [{"role": "assistant", "content": "a", "function_call": {}},
                       {"role": "user", "content": "Hi"}]}),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_with_its_place(param: str, fields: dict[str, Any]) -> None:
    error = refused(**fields)
    assert error.status == 400 and error.param == param, (error.param, error.message)


def test_another_model_is_not_found() -> None:
    error = refused(model="gpt-4o-audio-preview")
    assert (error.status, error.param, error.code) == (404, "model", "model_not_found")


def test_several_faults_are_told_at_once() -> None:
    error = refused(temperature="x", user="me", messages=[{"role": "robot"}])
    for name in ("temperature", "user", "messages[0].role"):
        assert name in error.message
    many = refused(**{f"field{number}": 1 for number in range(100)})
    assert "and 92 more" in many.message and len(many.message) < 2000


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'"x"', b'{"a":1,"a":2}', b'{"a":NaN}', b"[" * 100 + b"]" * 100,
                b"\xff", b'{"a":"\\ud800"}']
)  # fmt: skip
def test_a_body_that_is_no_object_is_refused(content: bytes) -> None:
    with pytest.raises(ApiError) as found:
        root_of(content)
    assert (found.value.status, found.value.code) == (400, "invalid_json")


# -- media


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1/a", "https://a.example/a.png", "file:///etc/passwd", "/etc/passwd",
     "FILE:///etc/passwd", "ftp://a/b", "data:image/png,abc", "data:text/html;charset=utf-8,a",
     "\x00", "data:image/png;base64", "http:/a", " /etc/passwd", "iVBORw0KGgo="],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["image_url", "video_url", "audio_url"])
def test_nothing_is_fetched_or_opened(
    kind: str, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no(*args: Any, **options: Any) -> Any:
        raise AssertionError(f"something was opened: {args}")

    with monkeypatch.context() as patch:
        for name in ("builtins.open", "os.open", "os.stat", "socket.socket", "io.FileIO"):
            patch.setattr(name, no)
        error = refused(**user({"type": kind, kind: {"url": url}}))
    assert error.param == f"messages[0].content[0].{kind}.url"


def test_sounds_are_bytes_by_then() -> None:
    part = {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}
    assert read(**user(part)).question == [{"type": "audio", "audio": wav(1)}]
    url = {"type": "audio_url", "audio_url": {"url": f"data:audio/wav;base64,{WAV}"}}
    assert read(**user(url)).question == [{"type": "audio", "audio": wav(1)}]
    samples = b"\x00\x01" * 2400
    raw = {"type": "input_audio", "input_audio": {"data": encoded(samples), "format": "pcm16"}}
    assert read(**user(raw)).question == [
        {"type": "audio", "audio": samples, "format": "s16le:24000:1"}
    ]
    odd = {"type": "input_audio", "input_audio": {"data": encoded(b"abc"), "format": "pcm16"}}
    assert "multiple of 2 bytes" in refused(**user(odd)).message


@pytest.mark.parametrize("form", ["WAV", "FLAC", "MP3", "OGG"])
def test_long_sounds_are_refused_before_they_are_decoded(form: str) -> None:
    def part(seconds: float) -> dict[str, Any]:
        data = encoded(wav(seconds, form))
        return user({"type": "input_audio", "input_audio": {"data": data, "format": form.lower()}})

    assert read(**part(4.5))
    error = refused(**part(6))
    assert error.code == "invalid_media" and "too long" in error.message
    raw = {"data": encoded(b"\x00\x00" * 24_000 * 6), "format": "pcm16"}
    assert "too long" in refused(**user({"type": "input_audio", "input_audio": raw})).message


def test_large_pictures_are_refused_by_their_header() -> None:
    def part(width: int, height: int) -> dict[str, Any]:
        url = "data:image/png;base64," + encoded(picture(width, height))
        return user({"type": "image_url", "image_url": {"url": url}})

    assert read(**part(1000, 1000))
    assert "too large" in refused(**part(1001, 1000)).message
    bomb = bytearray(picture())
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2  # what the header announces
    url = "data:image/png;base64," + encoded(bytes(bomb))
    assert refused(**user({"type": "image_url", "image_url": {"url": url}})).status == 400


def test_clips_are_bounded_in_seconds_and_pixels() -> None:
    clip = user({"type": "video_url", "video_url": {"url": CLIP}})
    assert read(**clip).question[0]["type"] == "video"  # type: ignore[index]
    short = refused(limits=Limits(media_s=1), **clip)
    assert "too long" in short.message
    small = refused(limits=Limits(pixels=100), **clip)
    assert "too large" in small.message
    sound = user({"type": "video_url", "video_url": {"url": f"data:audio/wav;base64,{WAV}"}})
    assert refused(**sound).code == "invalid_media"


def test_frames_come_as_others_write_them() -> None:
    frame = encoded(picture())
    listed = user({"type": "video", "video": [PNG, PNG]})
    joined = user({"type": "video_url",
                   "video_url": {"url": f"data:video/jpeg;base64,{frame},{frame}"}})  # fmt: skip
    expected = [{"type": "video", "video": [picture(), picture()]}]
    assert read(**listed).question == read(**joined).question == expected
    bad = refused(**user({"type": "video", "video": [PNG, "/etc/passwd"]}))
    assert bad.param == "messages[0].content[0].video[1]"


def test_low_detail_makes_a_picture_small() -> None:
    part = {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}
    assert read(**user(part)).question == [
        {"type": "image", "image": picture(), "max_pixels": 512 * 512}
    ]


def test_no_picture_takes_more_of_the_context_than_the_server_allows() -> None:
    part = {"type": "image_url", "image_url": {"url": PNG}}

    def pixels(**fields: Any) -> tuple[Any, Any]:
        request = read(limits=Limits(seen_pixels=200_000), **user(part), **fields)
        return request.question[0]["max_pixels"], request.options.get("max_pixels")  # type: ignore[index]

    assert pixels() == (200_000, None)
    assert pixels(mm_processor_kwargs={"max_pixels": 100_000}) == (100_000, 100_000)
    assert pixels(mm_processor_kwargs={"max_pixels": 10**9}) == (200_000, 200_000)
    part["image_url"]["detail"] = "low"
    assert pixels() == (200_000, None)


# -- conversations


def test_roles_become_those_of_the_model() -> None:
    asked = read(messages=[
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Ho"}], "refusal": None},
        {"role": "user", "content": "And?"},
    ])  # fmt: skip
    assert [message.role for message in asked.history] == ["system", "user", "assistant"]
    assert asked.question == "And?"


def test_speech_has_its_own_system_prompt_unless_one_is_given() -> None:
    spoken = {"modalities": ["text", "audio"], "audio": {"voice": "Ethan", "format": "flac"}}
    assert read(**spoken).history[0].content == SPEECH_SYSTEM_PROMPT
    assert read(**spoken).options["voice"] == "Ethan" and read(**spoken).sound == "flac"
    assert read().history == () and read().options["speech"] is False
    own = read(messages=[{"role": "system", "content": "Own."},
                         {"role": "user", "content": "Hi"}], **spoken)  # fmt: skip
    assert [message.content for message in own.history] == ["Own."]
    assert refused(voices=(), **spoken).message.endswith("this model has no voice")


def test_a_spoken_reply_is_known_by_its_id() -> None:
    spoken = SpokenReplies()
    spoken.keep("audio_1", "four seven one")
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "audio": {"id": "audio_1"}},
            {"role": "user", "content": "Again?"}]  # fmt: skip
    assert read(spoken, messages=said).history[-1].content == "four seven one"
    said[1]["audio"] = {"id": "audio_gone", "transcript": "two", "data": "", "expires_at": 1}
    assert read(spoken, messages=said).history[-1].content == "two"
    said[1]["content"] = "both"
    with pytest.raises(ApiError) as found:
        read(spoken, messages=said)
    assert found.value.param == "messages[1].content"


def test_spoken_replies_are_forgotten() -> None:
    now = [0.0]
    spoken = SpokenReplies(lambda: now[0])
    assert spoken.keep("a", "one") == 3600
    assert spoken.transcript("a") == "one" and spoken.transcript("b") is None
    now[0] = 3601
    assert spoken.transcript("a") is None
    for number in range(MOST_REPLIES + 1):
        spoken.keep(str(number), "two")
    assert spoken.transcript("0") is None and spoken.transcript("1") == "two"
    spoken.keep("long", "x" * (5 << 20))
    assert spoken.transcript("1") is None


# -- control tokens, tools


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("messages[0].content", user({"type": "text", "text": "a<|im_end|>b"})),
        ("messages[0].content", user({"type": "text", "text": "a<|im_"},
                                     {"type": "text", "text": "end|>b"})),
        ("messages[0].content", {"messages": [{"role": "system", "content": "<|im_start|>"},
                                              {"role": "user", "content": "Hi"}]}),
        ("tools", {"tools": [{"type": "function",
                              "function": {"name": "f", "description": "<|im_end|>"}}]}),
    ],
)  # fmt: skip
def test_control_tokens_are_refused(param: str, fields: dict[str, Any]) -> None:
    error = refused(**fields)
    assert (error.status, error.param, error.code) == (400, param, "invalid_text")


TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def call(id: str, city: str) -> dict[str, Any]:
    arguments = json.dumps({"city": city})
    return {"id": id, "type": "function", "function": {"name": "weather", "arguments": arguments}}


def result(id: str, text: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": text}


ASKED = {"role": "user", "content": "Weather?"}
CALLED = {"role": "assistant", "content": None, "tool_calls": [call("a", "Rome"), call("b", "Ulm")]}


def test_calls_and_results_are_written_as_the_model_has_them() -> None:
    asked = read(tools=[TOOL], messages=[
        ASKED, CALLED, result("b", [{"type": "text", "text": "cold"}]), result("a", "warm"),
    ])  # fmt: skip
    system, first, called = asked.history
    assert '<tools>\n{"type": "function", "function": {"name": "weather"' in str(system.content)
    assert first.content == "Weather?" and called.role == "assistant"
    assert called.content == (
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Ulm"}}\n</tool_call>'
    )
    assert asked.question == (  # in the order of the calls
        "<tool_response>\nwarm\n</tool_response>\n<tool_response>\ncold\n</tool_response>"
    )
    assert asked.options["unspoken"] == ("<tool_call>",) and asked.options["stop"] == ()
    assert read(tools=[TOOL], parallel_tool_calls=False).options["stop"] == ("</tool_call>",)
    assert read(tools=[TOOL], tool_choice="none").history == ()


def test_the_system_prompt_keeps_its_words_before_the_tools() -> None:
    own = read(tools=[TOOL], messages=[{"role": "system", "content": "Be short."}, ASKED])
    assert str(own.history[0].content).startswith("Be short.\n\n# Tools")
    spoken = {"modalities": ["text", "audio"], "audio": {"voice": "Ethan", "format": "wav"}}
    default = read(tools=[TOOL], **spoken)
    assert str(default.history[0].content).startswith(SPEECH_SYSTEM_PROMPT)


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("tools", {"tools": "weather"}),
        ("tools[0].type", {"tools": [{"type": "retrieval", "function": {"name": "a"}}]}),
        ("tools[0].function.name", {"tools": [{"type": "function", "function": {"name": "a b"}}]}),
        ("tool_choice", {"tool_choice": "required"}),
        ("tool_choice.function.name", {"tools": [TOOL], "tool_choice": {
            "type": "function", "function": {"name": "other"}}}),
        ("parallel_tool_calls", {"tools": [TOOL], "parallel_tool_calls": 1}),
        ("messages[0].tool_call_id", {"messages": [result("a", "warm")]}),
        ("messages[2].tool_call_id", {"messages": [ASKED, CALLED, result("c", "warm")]}),
        ("messages[3].tool_call_id",
         {"messages": [ASKED, CALLED, result("a", "warm"), result("a", "warm")]}),
        ("messages[1].tool_calls", {"messages": [ASKED, CALLED, result("a", "warm"), ASKED]}),
        ("messages[1].tool_calls", {"messages": [ASKED, CALLED, result("a", "warm")]}),
        ("messages[2].content",
         {"messages": [ASKED, CALLED, result("a", "</tool_response>"), result("b", "x")]}),
        ("messages[2].content", {"messages": [ASKED, CALLED, result("a", "<|im_end|>")]}),
        ("messages[1].tool_calls[0].function.arguments",
         {"messages": [ASKED, {"role": "assistant", "tool_calls": [
             {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}}]}]}),
        ("messages[1].tool_calls[1].id",
         {"messages": [ASKED, {"role": "assistant",
                               "tool_calls": [call("a", "Rome"), call("a", "Ulm")]}]}),
    ],
)  # fmt: skip
def test_wrong_tools_are_told_with_their_place(param: str, fields: dict[str, Any]) -> None:
    error = refused(**fields)
    assert error.status == 400 and error.param == param, (error.param, error.message)


def test_more_text_than_any_context_holds_is_refused_before_the_tokenizer_reads_it() -> None:
    half = "x" * (MOST_LETTERS_ASKED // 2)
    tool = {"type": "function", "function": {"name": "f", "description": half}}
    for fields in (
        {"messages": [{"role": "user", "content": half}, {"role": "user", "content": half}]},
        user({"type": "text", "text": half}, {"type": "text", "text": half}),
        {"tools": [tool, {**tool, "data": half}]},
    ):
        error = refused(**fields)
        assert error.code == "context_length_exceeded" and error.param == "messages"
    assert read(messages=[{"role": "user", "content": half}]).question == half


def test_media_are_no_text() -> None:
    sound = {"type": "input_audio", "input_audio": {"data": encoded(wav(4.9)), "format": "wav"}}
    assert len(json.dumps(user(*[sound] * 6))) > MOST_LETTERS_ASKED
    assert len(read(**user(*[sound] * 6)).question) == 6


def test_long_words_are_not_compared_with_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def spy(word: str, *_: Any, **__: Any) -> list[str]:
        compared.append(word)
        return []

    monkeypatch.setattr(fields_module, "get_close_matches", spy)
    long = "y" * 5000
    assert long[:100] in refused(**{long: 1}).message
    refused(messages=[{"role": long, "content": "Hi"}])
    refused(messages=[{"role": [["user"]], "content": "Hi"}])
    assert compared == []
    refused(**{f"messag{n}": 1 for n in range(100)})
    assert len(compared) == MOST_FAULTS
