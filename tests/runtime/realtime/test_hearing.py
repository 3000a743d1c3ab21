"""Speech is fed while it comes: its prefix, not the silence around it."""

from __future__ import annotations

import base64
import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.assistant.record import TurnRecord
from tests.runtime.realtime.client import base64_of, conversing
from tests.runtime.realtime.test_barge_in import LoudDetector, quiet

MEDIA = Path(__file__).parents[2] / "media"
RATE = 24_000


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    samples = 0.1 * np.random.default_rng(seed).standard_normal(int(seconds * RATE))
    return samples.astype(np.float32)


def test_speech_is_prefilled_while_it_lasts_and_silence_is_not_fed(
    assistant: Assistant, records: list[TurnRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    fed: list[np.ndarray] = []
    feed = Assistant.feed
    monkeypatch.setattr(
        Assistant,
        "feed",
        lambda self, seat, samples, *rest: fed.append(samples) or feed(self, seat, samples, *rest),
    )
    with conversing(assistant, opens=LoudDetector) as client:
        client.set(output_modalities=["text"])
        client.speak(quiet(3))
        client.speak(noise(4.6))
        while not fed or sum(map(len, fed)) < 4 * 16_000:  # the speech goes on
            client.speak(noise(0.02))
        assert not client.of_type("input_audio_buffer.speech_stopped")
        client.speak(quiet(2))
        stopped = client.until("input_audio_buffer.speech_stopped")
        started = client.of_type("input_audio_buffer.speech_started")[0]
        client.until("response.done")
        length_ms = stopped["audio_end_ms"] - started["audio_start_ms"]
        assert abs(started["audio_start_ms"] - 2700) < 20 and length_ms > 4800
        assert abs(sum(map(len, fed)) / 16 - length_ms) < 20
    (record,) = records
    assert record.reused_tokens > 90  # two blocks of 2 s were prefilled before the end


def test_fed_piece_by_piece_the_prompt_is_that_of_the_whole(
    assistant: Assistant, records: list[TurnRecord]
) -> None:
    """Speech found in 7 s of sound, and the same stretch sent as an item."""
    samples = np.concatenate([quiet(1), noise(5.3), quiet(0.7)])
    with conversing(assistant, opens=LoudDetector) as client:
        client.set(output_modalities=["text"])
        client.speak(samples, piece=3001)
        client.until("response.done")
        first = client.of_type("input_audio_buffer.speech_started")[0]["audio_start_ms"]
        last = client.of_type("input_audio_buffer.speech_stopped")[0]["audio_end_ms"]
    with conversing(assistant) as client:
        client.set(output_modalities=["text"])
        data = (samples * 32767).astype("<i2")[first * 24 : last * 24].tobytes()
        content = [{"type": "input_audio", "audio": base64_of(data)}]
        item = {"type": "message", "role": "user", "content": content}
        client.send("conversation.item.create", item=item)
        client.send("response.create")
        client.until("response.done")
    assert records[0].prompt_ids == records[1].prompt_ids


def test_the_buffer_is_committed_by_hand_and_cleared(assistant: Assistant) -> None:
    with conversing(assistant) as client:
        client.set(audio={"input": {"turn_detection": None}}, output_modalities=["text"])
        commit = "input_audio_buffer.commit"
        assert client.refused(commit)["code"] == "input_audio_buffer_commit_empty"
        client.speak(noise(0.09))
        assert client.refused(commit)["code"] == "input_audio_buffer_commit_empty"
        client.speak(noise(0.02))
        client.send(commit)
        first = client.until("input_audio_buffer.committed")
        assert first["previous_item_id"] is None
        client.speak(noise(3))
        client.send("input_audio_buffer.clear")
        client.until("input_audio_buffer.cleared")
        assert client.refused(commit)["code"] == "input_audio_buffer_commit_empty"
        client.speak(noise(0.5))
        client.send(commit)
        second = client.until("input_audio_buffer.committed")
        assert second["previous_item_id"] == first["item_id"]
        client.send("response.create")
        used = client.until("response.done")["response"]["usage"]["input_token_details"]
        assert used["audio_tokens"] == 3 + 12  # 110 ms and 500 ms, 40 ms each


def test_a_turn_has_a_longest_sound(spoken: object, assistant: Assistant) -> None:
    limits = assistant.limits
    object.__setattr__(assistant, "limits", type(limits)(media_s=1.0))
    with conversing(assistant, opens=LoudDetector) as client:
        client.set(output_modalities=["text"])
        client.speak(noise(1.5))  # speech that does not end is ended
        client.until("input_audio_buffer.committed")
        client.until("response.done")
        client.set(audio={"input": {"turn_detection": None}})
        data = base64_of(b"\0\0" * 24_000)
        client.send("input_audio_buffer.append", audio=data)
        error = client.refused("input_audio_buffer.append", audio=data)
        assert (error["code"], error["param"]) == ("input_audio_buffer_full", "audio")


def test_a_response_in_the_middle_of_speech_leaves_the_speech_whole(
    assistant: Assistant, records: list[TurnRecord]
) -> None:
    with conversing(assistant) as client:
        client.set(audio={"input": {"turn_detection": None}}, output_modalities=["text"])
        client.speak(noise(2.5))
        client.write("Hello")
        client.send("response.create")
        done = client.until("response.done")["response"]
        assert done["usage"]["input_token_details"]["audio_tokens"] == 0
        client.speak(noise(0.5, 1))
        client.send("input_audio_buffer.commit")
        client.send("response.create")
        done = client.until("response.done")["response"]
        assert done["usage"]["input_token_details"]["audio_tokens"] == 75


def test_a_conversation_that_has_ended_keeps_no_detector(assistant: Assistant) -> None:
    opened: list[weakref.ref[LoudDetector]] = []

    def opens(pauses: Any) -> LoudDetector:
        detector = LoudDetector(pauses)
        opened.append(weakref.ref(detector))
        return detector

    gc.disable()  # who connects and leaves is faster than Python's collector
    try:
        with conversing(assistant, opens=opens):
            assert opened[0]() is not None
        assert opened[0]() is None
    finally:
        gc.enable()


def picture_item() -> dict[str, Any]:
    picture = base64.b64encode((MEDIA / "drawing.png").read_bytes()).decode()
    content = [{"type": "input_image", "image_url": f"data:image/png;base64,{picture}"}]
    return {"type": "message", "role": "user", "content": content}


def test_a_picture_waits_for_the_spoken_question(
    assistant: Assistant, records: list[TurnRecord]
) -> None:
    """It is read in one message with it, and was fed before the sound while that lasted."""
    # its loudest sample comes first: all before it would be heard anew after a louder one
    samples = np.concatenate([quiet(1), 3 * noise(0.2), noise(5.1), quiet(0.7)])
    with conversing(assistant, opens=LoudDetector) as client:
        client.set(output_modalities=["text"])
        client.send("conversation.item.create", item=picture_item())
        client.speak(samples, piece=3001)
        client.until("response.done")
        first = client.of_type("input_audio_buffer.speech_started")[0]["audio_start_ms"]
        last = client.of_type("input_audio_buffer.speech_stopped")[0]["audio_end_ms"]
    with conversing(assistant) as client:
        client.set(output_modalities=["text"])
        data = (samples * 32767).astype("<i2")[first * 24 : last * 24].tobytes()
        item = picture_item()
        item["content"].append({"type": "input_audio", "audio": base64_of(data)})
        client.send("conversation.item.create", item=item)
        client.send("response.create")
        client.until("response.done")
    assert records[0].prompt_ids == records[1].prompt_ids
    sound = records[0].prompt_ids.index(assistant.omni.model.dims.tokens.audio)
    assert records[0].reused_tokens > sound + 90
