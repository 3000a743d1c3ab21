"""A session and a stream that several threads use: every turn, sound and event is there once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.omni import Omni
from omnijet.runtime.talk.reply import PcmChunk
from tests.runtime.talk.asking import LIMITS, sound, whole


def side_by_side(works: Sequence[Callable[[], object]]) -> list[BaseException]:
    """Runs each in a thread of its own; returns what they raised."""
    raised: list[BaseException] = []
    together = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        together.wait()
        try:
            work()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_turns_of_two_threads_follow_each_other(omni: Omni) -> None:
    session = omni.session(system=None)
    answers: dict[str, str] = {}

    def ask(name: str) -> None:
        for number in range(3):
            asked = f"{name} {number}"
            answers[asked] = session.generate(asked, **LIMITS).text

    assert not side_by_side([lambda: ask("one"), lambda: ask("two")])
    messages = session.messages
    assert [message.role for message in messages] == ["user", "assistant"] * 6
    pairs = zip(messages[::2], messages[1::2], strict=True)
    found = {asked.parts[0].text: answer.parts[0].text for asked, answer in pairs}  # type: ignore[union-attr]
    assert found == answers and len(answers) == 6
    last = session.generate("And now?", **LIMITS)
    assert (last.text_ids, last.codes) == whole(omni, session)


def test_sound_and_turns_of_several_threads(omni: Omni) -> None:
    session = omni.session(system=None)
    piece = sound(0.1)

    def feed() -> None:
        for _ in range(10):
            session.feed_audio(piece)

    assert not side_by_side([feed, feed])
    assert np.array_equal(session.heard, np.tile(piece, 20))

    replies: list[object] = []
    works = [lambda: replies.append(session.generate("Yes?", **LIMITS)), feed, session.fork]
    assert not side_by_side(works)
    assert len(replies) == 1
    heard = sum(part.medium.nbytes > 0 for message in session.messages for part in message.parts
                if getattr(part, "medium", None))  # fmt: skip
    assert heard == 1
    assert session.heard.size % piece.size == 0


def test_a_turn_ends_the_stream_of_another_thread(omni: Omni) -> None:
    session = omni.session(system=None)
    stream = session.stream("Hello", preset="fast", **{**LIMITS, "max_codes": 3000})
    next(stream)
    assert not side_by_side([lambda: session.generate("Stop.", **LIMITS), lambda: list(stream)])
    assert stream.reply.finish_reason == "cancelled"
    assert session.messages[-2].parts[0].text == "Stop."  # type: ignore[union-attr]


def test_a_call_within_a_call_of_the_same_thread_is_refused(
    omni: Omni, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log handler, say, that asks the session which logs."""
    session, raised = omni.session(system="You whisper."), []

    class Asks(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            try:
                session.generate("What happened?", **LIMITS)
            except OmnijetError as error:
                raised.append(error)

    monkeypatch.setattr(omni.model, "_warned", set())
    handler = Asks()
    logging.getLogger().addHandler(handler)
    try:
        assert session.generate("Hello", **LIMITS).text_ids
    finally:
        logging.getLogger().removeHandler(handler)
    assert raised and "of the same thread" in str(raised[0])


def test_events_of_a_stream_read_by_two_threads(omni: Omni) -> None:
    asked = [{"role": "user", "content": "Tell me"}]
    alone = list(omni.stream(asked, preset="fast", **{**LIMITS, "max_codes": 200}))
    read: list[list[object]] = [[], []]
    with omni.stream(asked, preset="fast", **{**LIMITS, "max_codes": 200}) as stream:
        assert not side_by_side([lambda: read[0].extend(stream), lambda: read[1].extend(stream)])
    chunks = [event for each in read for event in each if isinstance(event, PcmChunk)]
    chunks.sort(key=lambda chunk: chunk.start_sample)
    assert len(read[0]) + len(read[1]) == len(alone)
    assert np.array_equal(np.concatenate([one.samples for one in chunks]), stream.reply.audio)
