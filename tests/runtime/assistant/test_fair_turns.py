"""Several people at one model: right answers each, no one waits for ever, whatever they do."""

from __future__ import annotations

import faulthandler
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.assistant.limits import Limits
from omnijet.runtime.assistant.seat import Seat
from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.omni import Omni
from omnijet.runtime.talk.reply import PcmChunk
from omnijet.runtime.talk.session import Session
from tests.runtime.assistant.asking import LATE_S, LIMITS, MEDIA, Records, ask, until

HANGS_AFTER = 300.0  # seconds; then the process ends and says where it stood
SEATS = 4
OPERATIONS = 60  # of each seat
QUESTION = [{"type": "audio", "audio": str(MEDIA / "question.wav")}]


@pytest.fixture(autouse=True)
def guarded() -> Iterator[None]:
    """What these tests are afraid of would hold them up for ever."""
    faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def test_six_at_once_have_the_right_answer_each(trained: tuple[Path, Path]) -> None:
    records, heard = Records(), {}  # type: tuple[Records, dict[str, tuple[str, np.ndarray]]]
    with (
        Omni.open(trained[1], backend=OrtBackend(threads=1)) as omni,
        Assistant(omni, observe=records) as assistant,
    ):
        alone = omni.session().generate(QUESTION, greedy=True, seed=0)
        together = threading.Barrier(6)

        def talk(seat: Seat) -> None:
            together.wait(LATE_S)
            with assistant.turn("chat", seat) as turn:
                events = list(turn.stream(QUESTION, preset="fast", greedy=True, seed=0))
                assert turn.reply is not None
                pieces = [event.samples for event in events if isinstance(event, PcmChunk)]
                heard[seat.id] = (turn.reply.text, np.concatenate(pieces))

        threads = [threading.Thread(target=talk, args=(assistant.sit(),)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LATE_S)
    assert len(heard) == 6 and len(records) == 6
    for text, samples in heard.values():
        assert text == alone.text == "four seven one"
        assert np.array_equal(samples, next(iter(heard.values()))[1])
        assert samples.size == alone.audio.size
    assert all(record.finish_reason == "stop" for record in records)


def test_a_turn_that_waits_for_a_lane_ends_when_it_is_cancelled(omni: Omni) -> None:
    """The lane is held, as by a call that never comes to its end."""
    with Assistant(omni) as assistant:
        seat, other = assistant.sit(), assistant.sit()
        ask(assistant, other, "Hello")  # all graphs are loaded
        lane = omni.model.lanes.writing
        assert lane is not None
        held, free = threading.Event(), threading.Event()

        def hold() -> None:
            with lane:
                held.set()
                assert free.wait(LATE_S)

        holding = threading.Thread(target=hold)
        holding.start()
        assert held.wait(LATE_S)
        with assistant.turn("chat", seat) as turn:
            found: list[Any] = []
            reading = threading.Thread(
                target=lambda: found.extend(turn.stream("Hello", preset="fast", **LIMITS))
            )
            reading.start()
            until(lambda: lane.waiting == 1)
            turn.cancel()
            reading.join(LATE_S)
            assert not reading.is_alive() and not found and lane.waiting == 0
        free.set()
        holding.join()
        assert ask(assistant, seat, "And now?")


def test_whatever_several_people_do_they_are_answered(omni: Omni) -> None:
    failed: list[BaseException] = []
    records = Records()
    with Assistant(omni, Limits(turns=2, idle_s=0.05, wait_s=LATE_S), records) as assistant:
        seats = [assistant.sit() for _ in range(SEATS)]

        def live(seat: Seat, seed: int) -> None:
            try:
                _live(assistant, seat, random.Random(seed))
            except BaseException as error:
                failed.append(error)

        threads = [
            threading.Thread(target=live, args=(seat, seed)) for seed, seat in enumerate(seats)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(HANGS_AFTER)
        assert not failed
        assert assistant.load.running == assistant.load.waiting == 0
        lanes = omni.model.lanes
        assert lanes.writing is not None and lanes.writing.waiting == lanes.speaking.waiting == 0
        for seat in seats:  # its caches are those of its conversation
            _sounds_or_nothing(seat)
            with assistant.turn("chat", seat) as turn:
                list(turn.stream("Still there?", preset="fast", **LIMITS))
                assert turn.reply is not None
                ids = turn.reply.text_ids
            twin = Session(omni.model, None, "drop oldest")
            *twin.messages, question, _ = seat.session.messages
            assert ids == twin.generate(question, **LIMITS).text_ids
    assert {record.finish_reason for record in records} >= {"cancelled"}
    assert not [record for record in records if record.error]


def _live(assistant: Assistant, seat: Seat, draw: random.Random) -> None:
    """Does what people do: speaks, asks, cuts answers off, says later what was heard, forgets."""
    for _ in range(OPERATIONS):
        what = draw.choice(["feed", "feed", "ask", "barge in", "barge in", "barge in", "reset"])
        if what == "feed":
            samples = np.random.default_rng(draw.randrange(99)).standard_normal(
                draw.randrange(20_000)
            )
            assistant.feed(seat, (0.1 * samples).astype(np.float32))
        elif what == "ask":
            _sounds_or_nothing(seat)
            ask(assistant, seat, "Well?", max_text_tokens=4, max_codes=draw.randrange(1, 60))
        elif what == "barge in":
            _sounds_or_nothing(seat)
            _barge_in(assistant, seat, draw)
        else:
            seat.session.reset()


def _sounds_or_nothing(seat: Seat) -> None:
    """Forgets a sound that is too short for a token."""
    if 0 < seat.session.heard.size < 2_000:
        seat.session.reset()


def _barge_in(assistant: Assistant, seat: Seat, draw: random.Random) -> None:
    with assistant.turn("realtime", seat) as turn:
        stop = draw.randrange(6)
        cutting = threading.Timer(draw.random() / 20, turn.cancel, (draw.choice([None, 0, 4000]),))
        from_outside = draw.random() < 0.5
        if from_outside:
            cutting.start()
        events = turn.stream("Tell me", preset="fast", **{**LIMITS, "max_codes": 400})
        for count, _ in enumerate(events):
            if not from_outside and count >= stop:
                turn.cancel(draw.choice([None, 0, 4000]))
        if from_outside:
            cutting.join()
