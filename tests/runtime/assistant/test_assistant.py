"""Several people, one model: places, records, the end."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.assistant.busy import Busy
from omnijet.runtime.assistant.limits import Limits
from omnijet.runtime.cancel import Cancellation, Cancelled
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.omni import Omni
from tests.runtime.assistant.asking import LATE_S, LIMITS, MEDIA, Records, ask, until
from tests.scripted import Script, scripted

LONG: dict[str, Any] = {"seed": 5, "max_codes": 3000, "max_text_tokens": 2000}
ENDS = ("stop", "length", "codes")  # of replies that come to their end


def endless(omni: Omni) -> AbstractContextManager[Script]:
    """Has every reply be a long one."""
    return scripted(omni, lambda prompt: "seven " * 1900)


@pytest.fixture
def records() -> Records:
    return Records()


def test_a_turn_is_recorded(omni: Omni, records: Records) -> None:
    sound = {"type": "audio", "audio": str(MEDIA / "question.wav")}
    with Assistant(omni, observe=records) as assistant:
        seat = assistant.sit()
        answers = [ask(assistant, seat, content) for content in ([sound], "Once more.")]
    first, second = records
    assert first.session == second.session == seat.id and first.turn != second.turn
    assert [one.text_tokens for one in records] == [len(answer) for answer in answers]
    assert first.reused_tokens == 0 < second.reused_tokens < second.prompt_tokens
    assert first.prompt_tokens <= second.reused_tokens
    assert first.codes and first.audio_s > 0 and first.timings_ms["thinker_prefill"] > 0
    for one in records:
        latencies = [one.latency_ms[name] for name in ("first_text", "first_code", "first_pcm")]
        assert sorted(latencies) == latencies and one.queued_ms < latencies[0]
        assert latencies[-1] <= one.total_ms
        assert (one.error, one.refused, one.prompt, one.text, one.prompt_ids) == (None,) * 5
        assert one.finish_reason in ENDS and one.kind == "chat"


def test_contents_are_kept_if_asked(omni: Omni, records: Records) -> None:
    sound = {"type": "audio", "audio": str(MEDIA / "question.wav")}
    with Assistant(omni, observe=records, keeps_content=True) as assistant:
        seat = assistant.sit(system="You listen.")
        ask(assistant, seat, [sound, {"type": "text", "text": "What?"}])
        reply = seat.session.messages[-1].parts[0]
    (record,) = records
    assert record.prompt_ids is not None and len(record.prompt_ids) == record.prompt_tokens
    count = record.prompt_ids.count(omni.model.dims.tokens.audio)
    assert count > 1
    assert record.prompt == (
        "<|im_start|>system\nYou listen.<|im_end|>\n<|im_start|>user\n"
        f"<|audio_bos|><|AUDIO|>*{count}<|audio_eos|>What?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert record.text is not None and record.text == reply.text  # type: ignore[union-attr]


def test_after_a_barge_in_the_next_prompt_holds_only_what_was_heard(
    trained: tuple[Any, Any], records: Records
) -> None:
    with (
        Omni.open(trained[1]) as omni,
        Assistant(omni, observe=records, keeps_content=True) as assistant,
    ):
        seat = assistant.sit()
        with assistant.turn("realtime", seat) as turn:
            question = [{"type": "audio", "audio": str(MEDIA / "question.wav")}]
            for event in turn.stream(question, preset="fast", greedy=True, seed=0):
                if hasattr(event, "samples"):
                    break
            turn.cancel(played=0)
        with assistant.turn("realtime", seat) as turn:
            for _ in turn.stream("And now?", preset="fast", **LIMITS):
                pass
    cut, after = records
    assert cut.finish_reason == "cancelled" and cut.text
    assert after.prompt is not None and cut.text not in after.prompt
    assert after.prompt.count("<|im_start|>assistant") == 1  # of the answer to come


def test_what_fails_is_recorded(omni: Omni, records: Records) -> None:
    with Assistant(omni, observe=records) as assistant:
        seat = assistant.sit()
        broken = [{"type": "image", "image": np.zeros((2, 2, 9, 9), np.uint8)}]
        with pytest.raises(OmnijetError):
            ask(assistant, seat, broken)
        with pytest.raises(OmnijetError, match="preset"), assistant.turn("chat", seat) as turn:
            list(turn.stream("Hi", preset="none"))
    assert all(one.error and one.finish_reason is None for one in records) and len(records) == 2


def test_a_turn_that_takes_too_long_is_ended(omni: Omni, records: Records) -> None:
    with endless(omni), Assistant(omni, Limits(turn_s=0.3), records) as assistant:
        seat = assistant.sit()
        with assistant.turn("chat", seat) as turn:
            for _ in turn.stream("Tell me all.", preset="fast", **LONG):
                pass
            assert turn.is_late and turn.reply is not None
    assert records[0].finish_reason == "time" and records[0].total_ms >= 300


def test_a_turn_that_hangs_beyond_its_time_is_seen(omni: Omni) -> None:
    with Assistant(omni, Limits(turn_s=0.2)) as assistant:
        assert assistant.overdue_s == 0
        with assistant.turn("chat", assistant.sit()):  # as in a graph call that never ends
            assert assistant.overdue_s == 0
            until(lambda: assistant.overdue_s > 0.2)
        assert assistant.overdue_s == 0


def test_one_turn_waits_for_the_place_of_another(omni: Omni, records: Records) -> None:
    with Assistant(omni, Limits(turns=1), records) as assistant:
        one, other = assistant.sit(), assistant.sit()
        answers: list[list[int]] = []
        thread = threading.Thread(target=lambda: answers.append(ask(assistant, other, "Hello")))
        with assistant.turn("chat", one) as turn:
            thread.start()
            until(lambda: assistant.load.waiting == 1)
            for _ in turn.stream("Hello", preset="fast", **LIMITS):
                pass
            assert not answers
        thread.join(LATE_S)
        assert turn.reply is not None and answers == [turn.reply.text_ids]
        assert assistant.load.running == assistant.load.waiting == 0
    first, second = records
    assert first.queued_ms < second.queued_ms <= second.latency_ms["first_text"]


@pytest.mark.parametrize("by_leaving", [False, True])
def test_a_turn_that_waits_is_abandoned(omni: Omni, records: Records, by_leaving: bool) -> None:
    switch, ended = Cancellation(), threading.Event()
    with Assistant(omni, Limits(turns=1), records) as assistant:
        one, other = assistant.sit(), assistant.sit()

        def wait() -> None:
            with pytest.raises(Cancelled), assistant.turn("chat", other, abandon=switch):
                raise AssertionError("there is no place")
            ended.set()

        with assistant.turn("chat", one):
            thread = threading.Thread(target=wait)
            thread.start()
            until(lambda: assistant.load.waiting == 1)
            if by_leaving:
                other.leave()
            else:
                switch.cancel()
            assert ended.wait(LATE_S) and assistant.load.waiting == 0
            thread.join()
    assert [record.finish_reason for record in records] == ["cancelled", "cancelled"]
    assert records[0].session == other.id and records[0].queued_ms > 0


def test_a_refusal_is_recorded(omni: Omni, records: Records) -> None:
    with Assistant(omni, Limits(turns=1, waiting=0), records) as assistant:
        seat = assistant.sit()
        with (
            assistant.turn("chat", seat),
            pytest.raises(Busy),
            assistant.turn("speech", assistant.sit()),
        ):
            raise AssertionError("there is no place")
    refused, _ = records
    assert refused.kind == "speech" and refused.refused == "queue" and refused.error
    assert refused.finish_reason is None


def test_draining_lets_turns_end_and_takes_on_nothing(omni: Omni, records: Records) -> None:
    assistant = Assistant(omni, Limits(turns=1), records)
    one, other = assistant.sit(), assistant.sit()
    begun, drained, refused = threading.Event(), [], []  # type: ignore[var-annotated]

    def talk() -> None:
        with assistant.turn("chat", one) as turn:
            begun.set()
            until(lambda: bool(refused))
            for _ in turn.stream("Hello", preset="fast", **LIMITS):
                pass

    def wait() -> None:
        with pytest.raises(Busy) as busy, assistant.turn("chat", other):
            raise AssertionError("there is no place")
        refused.append(busy.value.reason)

    threads = [threading.Thread(target=work) for work in (talk, wait)]
    threads[0].start()
    assert begun.wait(LATE_S)
    threads[1].start()
    until(lambda: assistant.load.waiting == 1)
    draining = threading.Thread(target=lambda: drained.append(assistant.drain(LATE_S)))
    draining.start()
    for thread in (*threads, draining):
        thread.join(LATE_S)
    assert drained == [True] and refused == ["closing"]
    (ended,) = [record for record in records if record.refused is None]
    assert ended.finish_reason in ENDS
    for late in (assistant.sit, assistant.turn("chat", one).__enter__,
                 assistant.borrowed([]).__enter__):  # fmt: skip
        with pytest.raises(Busy) as busy:
            late()
        assert busy.value.reason == "closing"


@pytest.mark.parametrize("by_draining", [False, True])
def test_closing_ends_what_runs(omni: Omni, records: Records, by_draining: bool) -> None:
    assistant = Assistant(omni, observe=records)
    seat = assistant.sit()
    begun = threading.Event()

    def talk() -> None:
        with assistant.turn("chat", seat) as turn:
            for _ in turn.stream("Tell me all.", preset="fast", **LONG):
                begun.set()

    thread = threading.Thread(target=talk)
    with endless(omni):
        thread.start()
        assert begun.wait(LATE_S)
        if by_draining:
            assert not assistant.drain(0.0)
        else:
            assistant.close()
        thread.join(LATE_S)
    assert not thread.is_alive() and records[0].finish_reason == "cancelled"
    assistant.close()
    assert assistant.load.sessions == 0


def test_conversations_are_bounded(omni: Omni) -> None:
    with Assistant(omni, Limits(sessions=2)) as assistant:
        first, _ = assistant.sit(), assistant.sit()
        with pytest.raises(Busy) as busy:
            assistant.sit()
        assert busy.value.reason == "sessions"
        with pytest.raises(Busy), assistant.borrowed([]):
            raise AssertionError("there is no room")
        first.leave()
        first.leave()
        assert assistant.sit().id != first.id


def test_idle_caches_are_dropped_and_the_answer_is_the_same(omni: Omni, records: Records) -> None:
    with Assistant(omni, Limits(idle_s=0.05), records) as assistant:
        seat, other = assistant.sit(), omni.session()
        picture = [{"type": "image", "image": np.full((60, 80, 3), 90, np.uint8)}]
        feed = np.full(40_000, 0.01, np.float32)
        for content in (picture, "And now?"):
            assert ask(assistant, seat, content) == other.generate(content, **LIMITS).text_ids
            until(lambda: not len(seat.session.memory))
        assistant.feed(seat, feed)
        until(lambda: not len(seat.session.memory))
        other.feed_audio(feed)
        assert ask(assistant, seat, "Well?") == other.generate("Well?", **LIMITS).text_ids
        assert len(seat.session.messages) == len(other.messages)
    assert [record.reused_tokens for record in records] == [0, 0, 0]
