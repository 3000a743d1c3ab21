"""The client asks, plays, interrupts and tells what was heard, whatever order events come in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.chat.dialog import Dialog
from omnijet.runtime.chat.playback import Playback
from omnijet.runtime.chat.settings import Settings
from omnijet.runtime.chat.transport import Inbox, Said, Sounding
from omnijet.runtime.chat.view import Phase
from omnijet.runtime.chat.wire import decoded
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.voice.detector import Pauses
from tests.runtime.chat.fakes import Clock, Paper, Server, drained, inbox, ramp

HANDS_FREE = Settings(voice="Ethan", pauses=Pauses(silence_ms=400))


class World:
    """A dialog and all around it."""

    def __init__(self, settings: Settings = HANDS_FREE) -> None:
        self.server, self.paper, self.clock = Server(), Paper(), Clock()
        self.box: Inbox = inbox()
        self.playback = Playback(self.box.put, 0, self.clock)
        self.dialog = Dialog(
            self.server, settings, self.playback, self.paper, self.box.put, self.clock
        )
        self.dialog.open()

    def follow(self) -> None:
        """Lets the dialog read all that has come."""
        for news in drained(self.box):
            if isinstance(news, Said):
                self.dialog.take(news.event)
            elif isinstance(news, Sounding):
                self.dialog.sounding(news.item, news.at)

    def says(self, kind: str, **fields: Any) -> None:
        self.server.says(kind, **fields)
        self.follow()

    def replies(self, number: int, words: str, samples: Array | None) -> None:
        self.server.replies(number, words, samples)
        self.follow()

    def play(self, count: int) -> Array:
        made = self.playback.pull(count)
        self.follow()
        return made


def test_the_session_is_asked_for_as_the_settings_say() -> None:
    (update,) = World().server.of("session.update")
    session = update["session"]
    assert session["type"] == "realtime" and session["output_modalities"] == ["audio"]
    assert session["audio"]["output"]["voice"] == "Ethan"
    detection = session["audio"]["input"]["turn_detection"]
    assert (detection["type"], detection["silence_duration_ms"]) == ("server_vad", 400)
    (update,) = World(Settings(instructions="Be brief.", speech=False)).server.of("session.update")
    session = update["session"]
    assert session["output_modalities"] == ["text"] and "output" not in session["audio"]
    assert session["instructions"] == "Be brief."
    assert session["audio"]["input"]["turn_detection"] is None


def test_a_typed_question_is_answered() -> None:
    world = World()
    world.dialog.say("How many?")
    (made,) = world.server.of("conversation.item.create")
    assert made["item"]["content"] == [{"type": "input_text", "text": "How many?"}]
    assert [event["type"] for event in world.server.sent[-2:]] == [
        "conversation.item.create", "response.create"
    ]  # fmt: skip
    assert world.dialog.phase is Phase.THINKING and world.dialog.is_busy
    world.clock.now += 0.25
    world.replies(1, "three", ramp(9600))
    assert world.dialog.phase is Phase.SPEAKING
    assert np.array_equal(world.play(9600), ramp(9600))
    assert world.dialog.phase is Phase.LISTENING and not world.dialog.is_busy
    assert world.paper.lines == ["three"] and world.paper.latencies == [pytest.approx(250)]
    question, reply = world.dialog.record.turns
    assert (question.text, reply.text, reply.played) == ("How many?", "three", None)
    assert np.array_equal(reply.sound, ramp(9600))


def test_a_spoken_question_is_timed_from_the_end_of_its_speech() -> None:
    world = World()
    for _ in range(100):
        world.clock.now += 0.02
        world.dialog.hear(ramp(480), world.clock.now)
    (sent, *rest) = world.server.of("input_audio_buffer.append")
    assert len(rest) == 99 and np.array_equal(decoded(sent["audio"]), ramp(480))
    world.says("input_audio_buffer.speech_started", audio_start_ms=300, item_id="u")
    assert world.dialog.phase is Phase.HEARING
    world.says("input_audio_buffer.speech_stopped", audio_end_ms=1500, item_id="u")
    world.says("input_audio_buffer.committed", item_id="u")
    assert world.dialog.phase is Phase.THINKING
    world.clock.now += 0.1
    world.replies(1, "yes", ramp(480))
    world.play(480)
    assert world.paper.latencies == [pytest.approx(600)]  # half a second of pause, and 0.1
    assert world.paper.lines == ["you: (spoken)", "yes"]


def test_speaking_stops_a_reply_and_tells_what_was_heard() -> None:
    world = World()
    world.playback.delay = 240
    world.dialog.say("Count!")
    world.server.replies(1, "one two three", ramp(48_000))
    world.follow()
    world.play(24_240)
    world.says("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u")
    (cut,) = world.server.of("conversation.item.truncate")
    assert (cut["item_id"], cut["content_index"], cut["audio_end_ms"]) == ("item_1", 0, 1000)
    assert not world.play(480).any()
    assert world.dialog.record.turns[-1].played == 24_000
    assert not world.server.of("response.cancel")  # the server has done that


def test_what_still_comes_of_a_stopped_reply_is_not_heard() -> None:
    world = World()
    world.dialog.say("Count!")
    where = {"response_id": "resp_1", "item_id": "item_1", "content_index": 0}
    world.says("response.created", response={"id": "resp_1"})
    world.server.replies(1, "one", ramp(4800))
    first = drained(world.box)[:3]  # created, words, sound
    for news in first:
        assert isinstance(news, Said)
        world.dialog.take(news.event)
    world.play(2400)
    assert world.dialog.stop()
    (cancel,) = world.server.of("response.cancel")
    (cut,) = world.server.of("conversation.item.truncate")
    assert (cancel["response_id"], cut["audio_end_ms"]) == ("resp_1", 100)
    assert world.server.sent.index(cancel) < world.server.sent.index(cut)
    world.says("response.output_audio_transcript.delta", delta=" two", **where)
    world.server.replies(1, " two", ramp(4800))
    drained(world.box)
    world.server.done(1, "cancelled")
    world.follow()
    assert not world.play(4800).any() and not world.dialog.is_busy
    assert world.paper.lines[-2:] == ["one", "[stopped]"]
    assert world.dialog.stop() is False


def test_a_reply_stopped_before_it_began_is_cancelled_when_it_begins() -> None:
    world = World()
    world.dialog.say("Count!")
    assert world.dialog.stop() and not world.server.of("response.cancel")
    world.dialog.say("Stop!")
    world.replies(1, "one", ramp(4800))
    (cancel,) = world.server.of("response.cancel")
    assert cancel["response_id"] == "resp_1" and not world.play(4800).any()
    world.replies(2, "fine", ramp(480))
    assert np.array_equal(world.play(480), ramp(480)) and world.paper.lines == ["[stopped]", "fine"]


def test_push_to_talk_commits_and_asks() -> None:
    world = World(Settings())
    assert world.dialog.phase is Phase.READY
    world.dialog.hear(ramp(480), world.clock.now)
    world.dialog.end_speech(world.clock.now)
    kinds = [event["type"] for event in world.server.sent]
    assert kinds[-2:] == ["input_audio_buffer.commit", "response.create"]
    world.says("input_audio_buffer.committed", item_id="u")
    world.replies(1, "yes", None)
    assert not world.dialog.is_busy and world.dialog.turns == 1


@pytest.mark.parametrize("names_its_cause", [True, False])
def test_a_refused_question_is_told_and_nothing_is_awaited(names_its_cause: bool) -> None:
    world = World()
    world.dialog.say("Hi")
    cause = world.server.of("response.create")[0]["event_id"] if names_its_cause else None
    error = {"message": "busy", "param": "response", "code": "busy", "event_id": cause}
    world.says("error", error=error)
    assert world.paper.told == ["the server says: busy (response)"]
    assert world.dialog.faults == ["busy (response)"]
    assert not world.dialog.is_busy and world.dialog.turns == 1


def test_an_error_of_something_else_ends_no_wait() -> None:
    world = World()
    world.dialog.say("Hi")
    error = {"message": "too long", "event_id": "mine", "code": "invalid_value"}
    world.says("error", error=error)
    assert world.dialog.is_busy and world.paper.told == ["the server says: too long"]
    world.says("error", error={"message": "none", "code": "response_cancel_not_active"})
    assert len(world.paper.told) == 1 and world.dialog.is_busy


def test_a_failed_reply_says_why() -> None:
    world = World()
    world.dialog.say("Hi")
    world.says("response.created", response={"id": "resp_1"})
    world.server.done(1, "failed", status_details={"error": {"message": "no memory"}})
    world.follow()
    assert world.paper.told == ["the server says: the reply failed: no memory"]
    assert not world.dialog.is_busy


def test_the_server_says_when_it_has_read_all() -> None:
    world = World()
    world.dialog.ask_whether_read()
    assert not world.dialog.was_read
    (asked,) = world.server.of("conversation.item.retrieve")
    error = {"message": f"there is no item {asked['item_id']!r}", "event_id": asked["event_id"]}
    world.says("error", error=error)
    assert world.dialog.was_read and not world.paper.told and not world.dialog.faults


def test_a_reset_begins_anew_with_the_same_settings() -> None:
    world = World()
    world.dialog.use_voice("Chelsie")
    world.dialog.say("Hi")
    world.replies(1, "hello", ramp(4800))
    world.dialog.reset()
    assert world.server.opened == 2 and not world.dialog.record.turns
    assert not world.dialog.is_busy and not world.play(480).any()
    update = world.server.of("session.update")[-1]["session"]
    assert update["audio"]["output"]["voice"] == "Chelsie"


def test_names_from_before_general_availability_are_understood() -> None:
    world = World()
    world.dialog.say("Hi")
    world.says("response.created", response={"id": "r"})
    where = {"response_id": "r", "item_id": "i"}
    world.says("response.audio_transcript.delta", delta="hello", **where)
    delta = world.server.of("conversation.item.create")  # nothing of ours
    assert delta
    world.says("response.audio.delta", delta="AAAAQA==", **where)
    assert world.paper.lines == ["hello"] and world.play(2)[1] == 0.5


@pytest.mark.parametrize("delta", ["%%%", "AAAA", 7])
def test_sound_that_is_none_is_told(delta: Any) -> None:
    world = World()
    if delta == 7:  # no text at all: nothing to play
        world.says("response.output_audio.delta", delta=delta, item_id="i", response_id="r")
        assert not world.play(10).any()
        return
    with pytest.raises(OmnijetError, match="cannot be read"):
        world.says("response.output_audio.delta", delta=delta, item_id="i", response_id="r")


@pytest.mark.parametrize(
    "event",
    [{}, {"type": 3}, {"type": "response.done"}, {"type": "response.done", "response": []},
     {"type": "error"}, {"type": "error", "error": "x"}, {"type": "no.such.event"},
     {"type": "response.created", "response": None},
     {"type": "input_audio_buffer.speech_stopped", "audio_end_ms": "soon"}],
)  # fmt: skip
def test_odd_events_end_nothing(event: dict[str, Any]) -> None:
    world = World()
    world.dialog.take(event)
    world.dialog.say("Hi")
    assert world.dialog.phase is Phase.THINKING
