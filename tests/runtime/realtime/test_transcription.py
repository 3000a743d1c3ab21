"""What the user said is written down by the same model, behind the answer."""

from __future__ import annotations

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.assistant.record import TurnRecord
from tests.runtime.realtime.client import conversing, sound

COMPLETED = "conversation.item.input_audio_transcription.completed"


def test_a_spoken_question_is_written_down_after_its_answer(
    assistant: Assistant, records: list[TurnRecord]
) -> None:
    with conversing(assistant, model="nano") as client:
        wish = {"model": "nano", "language": "en"}
        session = client.set(audio={"input": {"transcription": wish}})
        assert session["audio"]["input"]["transcription"] == {**wish, "prompt": None}
        client.speak(sound("question.wav"))
        item_id = client.until("input_audio_buffer.committed")["item_id"]
        client.until("response.done")
        told = client.until(COMPLETED)
        assert (told["item_id"], told["content_index"]) == (item_id, 0)
        assert told["transcript"] == "four seven one"
        part = {"type": "input_audio", "transcript": "four seven one"}
        assert client.retrieved(item_id)["content"] == [part]
    assert [record.kind for record in records] == ["realtime", "transcription"]
    assert assistant.load.running == 0


def test_without_the_wish_nothing_is_written_down(
    assistant: Assistant, records: list[TurnRecord]
) -> None:
    with conversing(assistant) as client:
        client.speak(sound("question.wav"))
        client.until("response.done")
    assert [record.kind for record in records] == ["realtime"]


def test_closing_ends_what_is_being_written_down(assistant: Assistant) -> None:
    with conversing(assistant, model="nano") as client:
        vad = {"type": "server_vad", "create_response": False}
        wish = {"transcription": {"model": "nano"}, "turn_detection": vad}
        client.set(audio={"input": wish})
        client.speak(sound("question.wav"))
        client.until("input_audio_buffer.committed")
    assert assistant.load.running == 0
