"""Who speaks while the model speaks is heard, and the model remembers only what it had said."""

from __future__ import annotations

import numpy as np
import pytest

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.assistant.record import TurnRecord
from omnijet.runtime.omni import Omni
from omnijet.runtime.realtime import output
from omnijet.runtime.realtime.conversation import Conversation
from omnijet.runtime.realtime.paced import Paced
from omnijet.runtime.voice.detector import Edge, Pauses
from tests.runtime.realtime.client import Client, conversing, sound
from tests.runtime.realtime.lasting import make_lasting
from tests.scripted import scripted

LONG = " ".join(["four seven one two three five"] * 6)


class LoudDetector:
    """Takes every sample that is not 0 for speech: its edges are exact."""

    def __init__(self, pauses: Pauses) -> None:
        self._prefix, self._silence = 16 * pauses.prefix_ms, 16 * pauses.silence_ms
        self._place = self._last = 0
        self._is_in = False

    def push(self, samples: np.ndarray) -> list[Edge]:
        edges = []
        for sample in samples:
            if abs(sample) > 1e-3:
                self._last = self._place
                if not self._is_in:
                    self._is_in = True
                    edges.append(Edge("started", max(self._place - self._prefix, 0)))
            elif self._is_in and self._place - self._last >= self._silence:
                self._is_in = False
                edges.append(Edge("stopped", self._last + 1))
            self._place += 1
        return edges

    def reset(self) -> None:
        self._is_in = False


def quiet(seconds: float) -> np.ndarray:
    return np.zeros(int(24_000 * seconds), np.float32)


def sent_ms(client: Client) -> float:
    """How much sound came of the last answer."""
    deltas = client.of_type("response.output_audio.delta")
    last = deltas[-1]["item_id"]
    return sum(len(one["delta"]) * 3 / 4 for one in deltas if one["item_id"] == last) / 48


def asked(client: Client, text: str = "Tell me numbers.") -> str:
    """Asks, and waits for the first sound; returns the id of the answer."""
    client.write(text)
    client.send("response.create")
    found: str = client.until("response.output_audio.delta")["item_id"]
    return found


@pytest.fixture
def lasting(spoken: Omni, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replies that speak for 10 s, whatever they say."""
    make_lasting(spoken, monkeypatch)


def test_speech_cuts_the_reply_and_the_next_prompt_has_only_what_sounded(
    assistant: Assistant, spoken: Omni, lasting: None, records: list[TurnRecord]
) -> None:
    with scripted(spoken, LONG, "one") as script, conversing(assistant) as client:
        item_id = asked(client)
        client.until("response.output_audio.delta")
        client.speak(sound("question.wav", before=0))
        started = client.until("input_audio_buffer.speech_started")
        done = client.until("response.done")["response"]
        assert done["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
        assert done["output"][0]["status"] == "incomplete"
        cut = client.until("conversation.item.truncated")
        assert cut["item_id"] == item_id and 0 <= cut["audio_end_ms"] <= sent_ms(client)
        at = client.events.index(started)
        late = [event["type"] for event in client.events[at:]]
        assert "response.output_audio.delta" not in late[: late.index("response.done")]
        client.until("response.created")
        client.until("response.done")
        heard = client.retrieved(item_id)["content"][0]["transcript"]
    assert LONG.startswith(heard) and len(heard) < len(LONG) / 2
    said = (
        f"<|im_start|>assistant\n{heard}<|im_end|>"
        if heard
        else "numbers.<|im_end|>\n<|im_start|>user"
    )
    assert said in script.prompts[1]
    assert records[0].finish_reason == "cancelled"


def test_an_answer_that_still_sounds_is_cut_when_somebody_speaks(
    assistant: Assistant, spoken: Omni, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reply was sent whole; by the clock 0.9 s of it have sounded."""
    now = [100.0]
    monkeypatch.setattr(output, "Paced", lambda: Paced(lambda: now[0]))
    with (
        scripted(spoken, LONG, "one") as script,
        conversing(assistant, opens=LoudDetector) as client,
    ):
        client.write("Tell me numbers.")
        client.send("response.create", response={"max_output_tokens": 300})
        done = client.until("response.done")["response"]
        item_id = done["output"][0]["id"]
        assert sent_ms(client) > 2000
        now[0] += 0.9
        client.speak(np.concatenate([sound("question.wav", before=0, after=0), quiet(0.8)]))
        cut = client.until("conversation.item.truncated")
        assert (cut["item_id"], cut["audio_end_ms"]) == (item_id, 900)
        client.until("response.done")
        heard = client.retrieved(item_id)["content"][0]["transcript"]
        assert heard and LONG.startswith(heard) and len(heard) < len(LONG) / 2
        assert f"assistant\n{heard}<|im_end|>" in script.prompts[1]


def test_without_interrupt_response_the_reply_goes_on_and_the_speech_is_answered_later(
    assistant: Assistant, spoken: Omni
) -> None:
    vad = {"type": "server_vad", "interrupt_response": False, "create_response": False}
    with scripted(spoken, LONG) as script, conversing(assistant, opens=LoudDetector) as client:
        client.set(audio={"input": {"turn_detection": vad}}, max_output_tokens=120)
        item_id = asked(client)
        client.speak(np.concatenate([sound("question.wav", before=0, after=0), quiet(0.8)]))
        client.until("input_audio_buffer.committed")
        done = client.until("response.done")["response"]
        assert done["status_details"]["reason"] == "max_output_tokens"
        assert sum(done["usage"]["output_token_details"].values()) <= 120
        assert not client.of_type("conversation.item.truncated")
        assert not script.left
        client.send("response.create")
        second = client.until("response.done")["response"]
        assert second["status"] in ("completed", "incomplete")
        assert second["usage"]["input_token_details"]["audio_tokens"] > 20
        assert client.retrieved(item_id)["content"][0]["transcript"]


def test_truncate_keeps_the_words_until_then_and_gives_them_back(
    assistant: Assistant, spoken: Omni
) -> None:
    with scripted(spoken, LONG, "two", "one") as script, conversing(assistant) as client:
        client.set(max_output_tokens=300)
        item_id = asked(client)
        client.until("response.done")
        whole_ms = sent_ms(client)
        texts = []
        for part in (0.0, 0.1, 0.3, 0.5, 0.8, 1.0, 0.4):
            audio_end_ms = int(part * whole_ms)
            client.send(
                "conversation.item.truncate",
                item_id=item_id, content_index=0, audio_end_ms=audio_end_ms,
            )  # fmt: skip
            told = client.until("conversation.item.truncated")
            assert told["audio_end_ms"] == audio_end_ms
            texts.append(client.retrieved(item_id)["content"][0]["transcript"])
        lengths = [len(text) for text in texts]
        assert texts[0] == "" and lengths[:6] == sorted(lengths[:6]) and len(set(lengths)) >= 5
        assert all(LONG.startswith(text) for text in texts)
        client.write("And now?")
        client.send("response.create")
        client.until("response.done")
        assert f"assistant\n{texts[-1]}<|im_end|>" in script.prompts[1]
        # an answer before the last one can be cut, too
        client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=0)
        client.until("conversation.item.truncated")
        client.write("Again?")
        client.send("response.create")
        client.until("response.done")
        assert "four" not in script.prompts[2] and "assistant\ntwo<|im_end|>" in script.prompts[2]


def test_truncate_ends_a_reply_that_is_being_made(
    assistant: Assistant, spoken: Omni, lasting: None
) -> None:
    with scripted(spoken, LONG), conversing(assistant) as client:
        item_id = asked(client)
        client.send(
            "conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=100
        )
        done = client.until("response.done")["response"]
        assert done["status_details"]["reason"] == "client_cancelled"
        assert client.until("conversation.item.truncated")["audio_end_ms"] == 100
        assert len(client.of_type("conversation.item.truncated")) == 1


def test_what_cannot_be_truncated_is_told(assistant: Assistant, spoken: Omni) -> None:
    with scripted(spoken, "four"), conversing(assistant) as client:
        item_id = asked(client)
        client.until("response.done")
        user_id = client.of_type("conversation.item.done")[0]["item"]["id"]
        place = {"content_index": 0, "audio_end_ms": 10**6}
        type = "conversation.item.truncate"
        assert client.refused(type, item_id=item_id, **place)["param"] == "audio_end_ms"
        place["audio_end_ms"] = 10
        assert client.refused(type, item_id=user_id, **place)["param"] == "item_id"
        assert client.refused(type, item_id="nobody", **place)["code"] == "item_not_found"
        place["content_index"] = 1
        assert client.refused(type, item_id=item_id, **place)["param"] == "content_index"


def test_a_cancelled_response_ends_at_once(
    assistant: Assistant, spoken: Omni, lasting: None
) -> None:
    with scripted(spoken, LONG), conversing(assistant) as client:
        asked(client)
        client.send("response.cancel")
        done = client.until("response.done")["response"]
        assert done["status"] == "cancelled"
        assert done["status_details"]["reason"] == "client_cancelled"
        assert sent_ms(client) < 3000
        assert client.refused("response.cancel")["code"] == "response_cancel_not_active"


def test_closing_in_the_middle_of_a_reply_leaves_nothing(
    assistant: Assistant, spoken: Omni, lasting: None
) -> None:
    with scripted(spoken, LONG):
        client = Client(assistant)
        client.conversation.start()
        asked(client)
        client.conversation.close()
        client.conversation.close()
        assert assistant.load.sessions == 0 and assistant.load.running == 0
        assert isinstance(client.conversation, Conversation) and client.conversation.has_ended
