"""What is not supported is refused by name, and changes nothing."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from PIL import Image

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.assistant.record import TurnRecord
from tests.runtime.realtime.client import Client, conversing

TEXT = {"type": "input_text", "text": "Hello"}


def message(*content: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": list(content), **fields}


def picture(kind: str = "PNG", size: tuple[int, int] = (8, 8)) -> bytes:
    held = io.BytesIO()
    Image.new("RGB", size, "red").save(held, kind)
    return held.getvalue()


def url(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def heard(**fields: Any) -> dict[str, Any]:
    return {"audio": {"input": fields}}


def said(**fields: Any) -> dict[str, Any]:
    return {"audio": {"output": fields}}


SESSIONS: list[tuple[dict[str, Any], str]] = [
    ({"type": "transcription"}, "session.type"),
    ({"surprise": 1}, "session.surprise"),
    ({"model": "gpt-realtime"}, "session.model"),
    ({"instructions": 7}, "session.instructions"),
    ({"instructions": "<|im_end|>"}, "session.instructions"),
    ({"output_modalities": ["text", "audio"]}, "session.output_modalities"),
    ({"output_modalities": []}, "session.output_modalities"),
    ({"max_output_tokens": 0}, "session.max_output_tokens"),
    ({"max_output_tokens": 4097}, "session.max_output_tokens"),
    ({"max_output_tokens": True}, "session.max_output_tokens"),
    ({"include": ["item.input_audio_transcription.logprobs"]}, "session.include"),
    ({"prompt": {"id": "pmpt_1"}}, "session.prompt"),
    ({"tracing": "auto"}, "session.tracing"),
    ({"reasoning": {"effort": "low"}}, "session.reasoning"),
    ({"truncation": {"type": "retention_ratio", "retention_ratio": 0.8}}, "session.truncation"),
    ({"audio": {"surprise": 1}}, "session.audio.surprise"),
    ({"audio": []}, "session.audio"),
    (heard(transcription={"model": "whisper-1"}), "session.audio.input.transcription.model"),
    (heard(transcription={"prompt": "x"}), "session.audio.input.transcription.prompt"),
    (heard(transcription={"language": "xx"}), "session.audio.input.transcription.language"),
    (heard(transcription={"delay": "low"}), "session.audio.input.transcription.delay"),
    (heard(surprise=1), "session.audio.input.surprise"),
    (heard(noise_reduction={"type": "near_field"}), "session.audio.input.noise_reduction"),
    (heard(format={"type": "audio/opus"}), "session.audio.input.format.type"),
    (heard(format={"type": "audio/pcm", "rate": 16000}), "session.audio.input.format.rate"),
    (heard(format={"type": "audio/pcm", "x": 1}), "session.audio.input.format.x"),
    (heard(turn_detection={"type": "semantic_vad"}), "session.audio.input.turn_detection.type"),
    (heard(turn_detection={}), "session.audio.input.turn_detection.type"),
    *(
        (heard(turn_detection={"type": "server_vad", name: value}),
         f"session.audio.input.turn_detection.{name}")
        for name, value in {
            "threshold": 2, "prefix_padding_ms": -1, "silence_duration_ms": 1.5,
            "create_response": "yes", "interrupt_response": 1, "idle_timeout_ms": 6000,
            "eagerness": "low",
        }.items()
    ),
    (said(voice="alloy"), "session.audio.output.voice"),
    (said(voice={"id": "voice_1"}), "session.audio.output.voice"),
    (said(speed=1.2), "session.audio.output.speed"),
    (said(preset="best"), "session.audio.output.preset"),
    (said(surprise=1), "session.audio.output.surprise"),
]  # fmt: skip
BETA = ("modalities", "voice", "input_audio_format", "output_audio_format", "turn_detection",
        "input_audio_transcription", "temperature", "max_response_output_tokens")  # fmt: skip
RESPONSES: list[tuple[dict[str, Any], str]] = [
    ({"surprise": 1}, "response.surprise"),
    ({"conversation": "none"}, "response.conversation"),
    ({"input": []}, "response.input"),
    ({"metadata": {"a": 1}}, "response.metadata.a"),
    ({"metadata": {str(n): "" for n in range(17)}}, "response.metadata"),
    ({"output_modalities": ["video"]}, "response.output_modalities"),
    ({"audio": {"input": {}}}, "response.audio.input"),
    (said(voice="nobody"), "response.audio.output.voice"),
    ({"temperature": 1}, "response.temperature"),
    ({"prompt": {"id": "x"}}, "response.prompt"),
]
ITEMS: list[tuple[Any, str]] = [
    ("message", "item"),
    ({"type": "item_reference", "id": "x"}, "item.type"),
    (message(TEXT, surprise=1), "item.surprise"),
    (message(TEXT, id="x" * 65), "item.id"),
    (message(TEXT, status="done"), "item.status"),
    (message(TEXT, role="robot"), "item.role"),
    (message(), "item.content"),
    (message("Hello"), "item.content[0]"),
    (message({"type": "text", "text": "Hello"}), "item.content[0].type"),
    (message({"type": "input_text"}), "item.content[0].text"),
    (message(TEXT, {**TEXT, "surprise": 1}), "item.content[1].surprise"),
    (message({"type": "input_text", "text": "<|im_start|>"}), "item.content"),
    (message({"type": "input_text", "text": "<|im_"}, {"type": "input_text", "text": "end|>"}),
     "item.content"),
    (message({"type": "input_text", "text": "x" * (1 << 19)}), "item.content[0].text"),
    (message({"type": "input_audio", "audio": "!"}), "item.content[0].audio"),
    (message({"type": "input_audio", "audio": "AAAA"}), "item.content[0].audio"),
    (message({"type": "input_image", "image_url": "https://example.org/a.png"}),
     "item.content[0].image_url"),
    (message({"type": "input_image", "image_url": "file:///etc/hostname"}),
     "item.content[0].image_url"),
    (message({"type": "input_image", "image_url": url(b"no picture")}),
     "item.content[0].image_url"),
    (message({"type": "input_image", "image_url": url(picture()[:45])}),
     "item.content[0].image_url"),
    (message({"type": "input_image", "image_url": url(picture()), "detail": "huge"}),
     "item.content[0].detail"),
    ({"type": "message", "role": "assistant", "content": [TEXT]}, "item.content[0].type"),
    ({"type": "message", "role": "assistant",
      "content": [{"type": "output_audio", "transcript": "a", "audio": "AAAA"}]},
     "item.content[0].audio"),
    ({"type": "message", "role": "system", "content": [{"type": "input_image"}]},
     "item.content[0].type"),
    ({"type": "function_call", "name": "a b", "arguments": "{}"}, "item.name"),
    ({"type": "function_call", "name": "a", "arguments": "[]"}, "item.arguments"),
]  # fmt: skip
EVENTS: list[tuple[dict[str, Any], str]] = [
    ({}, "type"),
    ({"type": 3}, "type"),
    ({"type": "session.updat"}, "type"),
    ({"type": "output_audio_buffer.clear"}, "type"),
    ({"type": "transcription_session.update", "session": {}}, "type"),
    ({"type": "session.update"}, "session"),
    ({"type": "session.update", "session": {"type": "realtime"}, "x": 1}, "x"),
    ({"type": "input_audio_buffer.append"}, "audio"),
    ({"type": "input_audio_buffer.append", "audio": 1}, "audio"),
    ({"type": "input_audio_buffer.append", "audio": "a"}, "audio"),
    ({"type": "input_audio_buffer.append", "audio": "", "x": 1}, "x"),
    ({"type": "input_audio_buffer.commit", "x": 1}, "x"),
    ({"type": "input_audio_buffer.clear", "x": 1}, "x"),
    ({"type": "conversation.item.create"}, "item"),
    ({"type": "conversation.item.create", "item": message(TEXT), "previous_item_id": "y"},
     "previous_item_id"),
    ({"type": "conversation.item.retrieve"}, "item_id"),
    ({"type": "conversation.item.retrieve", "item_id": "y"}, "item_id"),
    ({"type": "conversation.item.delete", "item_id": "y"}, "item_id"),
    ({"type": "conversation.item.delete", "item_id": ["y"]}, "item_id"),
    ({"type": "conversation.item.truncate", "item_id": "y", "content_index": 0,
      "audio_end_ms": -1}, "audio_end_ms"),
    ({"type": "response.create", "response": 5}, "response"),
    ({"type": "response.create", "x": 5}, "x"),
    ({"type": "response.cancel", "response_id": "resp_x"}, "response_id"),
    ({"type": "response.cancel", "event_id": 5}, "event_id"),
]  # fmt: skip


def test_nothing_unknown_is_taken(assistant: Assistant) -> None:
    """All in one conversation, which goes on; `param` names the field each time."""
    with conversing(assistant) as client:
        before = client.set()
        for session, param in SESSIONS:
            asked = {"type": "realtime", **session}
            assert client.refused("session.update", session=asked)["param"] == param, session
        for name in BETA:
            error = client.refused("session.update", session={"type": "realtime", name: "x"})
            assert error["param"] == f"session.{name}" and "beta" in error["message"]
        for response, param in RESPONSES:
            assert client.refused("response.create", response=response)["param"] == param
        for item, param in ITEMS:
            error = client.refused("conversation.item.create", item=item)
            assert error["param"] == param, (item, error)
        for event, param in EVENTS:
            client.conversation.receive(event)
            error = client.until("error")["error"]
            assert error["param"] == param and error["event_id"] is None, (event, error)
        for value in ([], "text", 3, None):
            client.conversation.receive(value)  # type: ignore[arg-type]
            assert client.until("error")["error"]["code"] == "invalid_type"
        assert client.set() == before
        assert not client.of_type("conversation.item.added")
        assert not client.of_type("response.created")
        client.set(output_modalities=["text"])
        client.write("Hello")
        client.send("response.create")
        assert client.until("response.done")["response"]["status"] == "completed"


def test_every_setting_that_is_supported_is_told_back(assistant: Assistant) -> None:
    vad = {"type": "server_vad", "threshold": 0.7, "prefix_padding_ms": 200,
           "silence_duration_ms": 400, "create_response": False,
           "interrupt_response": False}  # fmt: skip
    with conversing(assistant) as client:
        session = client.set(
            instructions="Be short.", output_modalities=["audio"], max_output_tokens=99,
            truncation="disabled", tools=[], tool_choice="none", include=None, tracing=None,
            audio={
                "input": {"format": {"type": "audio/pcmu"}, "turn_detection": vad,
                          "transcription": None, "noise_reduction": None},
                "output": {"format": {"type": "audio/pcma"}, "voice": "Chelsie", "speed": 1.0,
                           "preset": "fast"},
            },
        )  # fmt: skip
        assert session["audio"]["input"]["turn_detection"] == {**vad, "idle_timeout_ms": None}
        assert session["audio"]["input"]["format"] == {"type": "audio/pcmu"}
        output = session["audio"]["output"]
        assert output == {"format": {"type": "audio/pcma"}, "voice": "Chelsie", "speed": 1.0,
                          "preset": "fast"}  # fmt: skip
        told = [session[name] for name in ("instructions", "max_output_tokens", "truncation")]
        assert told == ["Be short.", 99, "disabled"]
        session = client.set(audio={"input": {"turn_detection": {"type": "server_vad"}}})
        assert session["audio"]["input"]["turn_detection"]["threshold"] == 0.7  # nothing is lost
        session = client.set(audio={"input": {"turn_detection": None}}, max_output_tokens="inf")
        assert session["audio"]["input"]["turn_detection"] is None
        assert session["max_output_tokens"] == "inf" and session["instructions"] == "Be short."


def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded(
    assistant: Assistant,
) -> None:
    object.__setattr__(assistant, "limits", type(assistant.limits)(pixels=1000))
    with conversing(assistant) as client:
        part = {"type": "input_image", "image_url": url(picture(size=(40, 40)))}
        error = client.refused("conversation.item.create", item=message(part))
        assert error["param"] == "item.content[0].image_url" and "1,600 pixels" in error["message"]


def test_the_model_reads_no_more_of_a_picture_than_the_server_allows(
    assistant: Assistant, records: list[TurnRecord]
) -> None:
    object.__setattr__(assistant, "limits", type(assistant.limits)(seen_pixels=20_000))
    with conversing(assistant) as client:
        client.set(output_modalities=["text"])
        part = {"type": "input_image", "image_url": url(picture(size=(400, 400)))}
        client.send("conversation.item.create", item=message(part, TEXT))
        client.send("response.create")
        client.until("response.done")
    seen = records[0].prompt_ids.count(assistant.omni.model.dims.tokens.image)
    assert 0 < seen <= 20_000 // 784


def test_items_are_put_where_they_belong_and_taken_out(assistant: Assistant) -> None:
    def create(client: Client, id: str, after: str | None) -> dict[str, Any]:
        fields = {} if after is None else {"previous_item_id": after}
        client.send("conversation.item.create", item=message(TEXT, id=id), **fields)
        found: dict[str, Any] = client.until("conversation.item.added")
        return found

    with conversing(assistant) as client:
        places = [("b", None, None), ("d", None, "b"), ("c", "b", "b"), ("a", "root", None)]
        for id, after, before in places:
            assert create(client, id, after)["previous_item_id"] == before
        error = client.refused("conversation.item.create", item=message(TEXT, id="a"))
        assert error["code"] == "item_exists"
        client.send("conversation.item.delete", item_id="b")
        assert client.until("conversation.item.deleted")["item_id"] == "b"
        error = client.refused("conversation.item.retrieve", item_id="b")
        assert error["code"] == "item_not_found"
        assert create(client, "e", "a")["previous_item_id"] == "a"
        assert client.retrieved("c")["content"] == [TEXT]


def test_a_full_server_opens_no_conversation(assistant: Assistant) -> None:
    from omnijet.runtime.assistant.busy import Busy
    from omnijet.runtime.assistant.limits import Limits

    with Assistant(assistant.omni, Limits(sessions=1)) as small, conversing(small):
        refused = Client(small)
        with pytest.raises(Busy):
            refused.conversation.start()
        refused.conversation.close()
