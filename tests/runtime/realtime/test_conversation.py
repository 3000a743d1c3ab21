"""A conversation by events: speech, text and pictures in, speech and text out."""

from __future__ import annotations

import base64

import numpy as np

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.assistant.record import TurnRecord
from tests.runtime.realtime.client import MEDIA, base64_of, conversing, sound

ORDER = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
]
END = [
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
]


def test_a_spoken_question_is_found_and_answered(
    assistant: Assistant, records: list[TurnRecord]
) -> None:
    with conversing(assistant) as client:
        client.speak(sound("question.wav"))
        done = client.until("response.done")["response"]
        types = [event["type"] for event in client.events[1:]]
        assert types[: len(ORDER)] == ORDER
        assert types[-len(END) :] == END
        (answer,) = done["output"]
        assert answer["content"] == [{"type": "output_audio", "transcript": "four seven one"}]
        words = client.of_type("response.output_audio_transcript.delta")
        assert "".join(event["delta"] for event in words) == "four seven one"
        pcm = b"".join(
            base64.b64decode(event["delta"])
            for event in client.of_type("response.output_audio.delta")
        )
        samples = np.frombuffer(pcm, "<i2")
        assert 0.5 < samples.size / 24_000 < 3 and np.abs(samples).max() > 1000
        started, stopped = client.events[1], client.events[2]
        assert 0 < started["audio_start_ms"] < stopped["audio_end_ms"] < 2200
    assert done["status"] == "completed" and done["status_details"] is None
    usage = done["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["input_token_details"]["audio_tokens"] > 20
    assert usage["output_token_details"] == {
        "text_tokens": records[0].text_tokens,
        "audio_tokens": records[0].codes,
    }
    (record,) = records
    waited = float(done["metadata"]["omnijet_speech_end_to_first_pcm_ms"])
    assert abs(record.latency_ms["speech_end"] - waited) < 0.1
    first = [float(done["metadata"][f"omnijet_first_{name}_ms"]) for name in ("text", "code")]
    assert 0 < first[0] <= first[1] < waited
    assert 400 <= float(done["metadata"]["omnijet_pause_ms"]) < 700


def test_a_picture_with_a_spoken_question_is_answered_in_text(assistant: Assistant) -> None:
    picture = base64_of((MEDIA / "drawing.png").read_bytes())
    question = base64_of(
        (sound("follow_up.wav", before=0, after=0) * 32767).astype("<i2").tobytes()
    )
    with conversing(assistant) as client:
        client.set(output_modalities=["text"])
        content = [
            {"type": "input_image", "image_url": f"data:image/png;base64,{picture}"},
            {"type": "input_audio", "audio": question},
        ]
        item = {"type": "message", "role": "user", "content": content, "id": "asked"}
        client.send("conversation.item.create", item=item)
        client.send("response.create")
        done = client.until("response.done")["response"]
        assert done["output"][0]["content"] == [{"type": "output_text", "text": "yellow"}]
        assert done["usage"]["input_token_details"]["image_tokens"] > 0
        text = client.of_type("response.output_text.delta")
        assert "".join(event["delta"] for event in text) == "yellow"
        assert not client.of_type("response.output_audio.delta")
        assert client.retrieved("asked")["content"][1] == {
            "type": "input_audio",
            "transcript": None,
        }


def test_sound_in_odd_pieces_has_the_ids_of_the_whole(
    assistant: Assistant, records: list[TurnRecord]
) -> None:
    """Pieces of 1 byte to 3 s, fed while they come, against one piece; and one item."""
    samples = sound("question.wav", before=2.3, after=0.4)
    sizes = np.random.default_rng(3).integers(1, 40_000, 20)
    manual = {"input": {"turn_detection": None}}
    with conversing(assistant) as client:
        client.set(output_modalities=["text"], audio=manual)
        data = (samples * 32767).astype("<i2").tobytes()
        for pieces in ([*np.cumsum([1, 2, 3, *sizes])], []):
            first = 0
            for stop in [*(one for one in pieces if one < len(data)), len(data)]:
                part = base64_of(data[first:stop])
                client.send("input_audio_buffer.append", audio=part)
                first = stop
            client.send("input_audio_buffer.commit")
            item = client.until("input_audio_buffer.committed")["item_id"]
            client.send("response.create")
            answer = client.until("response.done")["response"]["output"][0]
            for one in (item, answer["id"]):
                client.send("conversation.item.delete", item_id=one)
                client.until("conversation.item.deleted")
        content = [{"type": "input_audio", "audio": base64_of(data)}]
        item = {"type": "message", "role": "user", "content": content}
        client.send("conversation.item.create", item=item)
        client.send("response.create")
        client.until("response.done")
    split, whole, given = records
    assert split.prompt_ids == whole.prompt_ids == given.prompt_ids
    assert split.text == whole.text == given.text
