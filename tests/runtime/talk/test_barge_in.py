"""A conversation remembers of an answer what was heard."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from omnijet.runtime.backends.ort_session import OrtBinding, OrtSession
from omnijet.runtime.cancel import Cancelled
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.omni import Omni
from omnijet.runtime.talk.reply import PcmChunk
from tests.runtime.talk.asking import LIMITS, sound, whole


def test_barge_in_keeps_what_had_sounded(omni: Omni) -> None:
    session = omni.session(system=None)
    limits = {**LIMITS, "max_text_tokens": 60, "max_codes": 200}
    stream = session.stream("Tell me a story", preset="fast", **limits)
    played = 0
    for event in stream:
        if isinstance(event, PcmChunk):
            played += event.samples.size
            if played > 24_000:
                break
    stream.cancel(played=played // 2)
    written = stream.reply.text
    after = session.generate("Go on", **LIMITS)
    said = session.messages[1].content if session.messages[1].role == "assistant" else ""
    assert isinstance(said, str) and written.startswith(said) and len(said) < len(written)
    # the caches hold no more than the prompt says
    assert (after.text_ids, after.codes) == whole(omni, session)


def test_what_the_reader_took_counts_as_heard(omni: Omni) -> None:
    limits = {**LIMITS, "max_text_tokens": 40, "max_codes": 100}
    full = omni.generate([{"role": "user", "content": "Tell me"}], system=None, **limits).text
    session = omni.session(system=None)
    for event in session.stream("Tell me", preset="fast", **limits):
        assert event
    session.fork()  # settles the turn
    assert session.messages[1].content == full
    # nothing was taken: the question stays, the answer was never heard
    session.reset()
    stream = session.stream("Tell me", preset="fast", **limits)
    next(event for event in stream if not isinstance(event, PcmChunk))
    stream.cancel()
    session.fork()
    assert [message.role for message in session.messages] == ["user"]


def test_who_learns_later_what_was_heard(omni: Omni) -> None:
    limits = {**LIMITS, "max_text_tokens": 40, "max_codes": 100}
    session = omni.session(system=None)
    with pytest.raises(OmnijetError, match="no spoken answer"):
        session.heard_until(0)
    reply = session.generate("Tell me", **limits)
    session.heard_until(reply.audio.size)
    assert session.messages[1].content == reply.text
    session.heard_until(reply.audio.size // 2)
    half = session.messages[1].content
    assert reply.text.startswith(half) and 0 < len(half) < len(reply.text)
    after = session.generate("Go on", **LIMITS)
    assert (after.text_ids, after.codes) == whole(omni, session)
    session.heard_until(0)
    assert session.messages[-1].role == "user"
    with pytest.raises(OmnijetError, match="samples is unusable"):
        session.heard_until(-1)
    with pytest.raises(OmnijetError, match="played is unusable"):
        omni.stream([{"role": "user", "content": "Hi"}], **LIMITS).cancel(played=1.5)


def test_words_come_back_when_more_was_heard_than_thought(omni: Omni) -> None:
    limits = {**LIMITS, "max_text_tokens": 40, "max_codes": 100}
    session = omni.session(system=None)
    reply = session.generate("Tell me", **limits)
    session.heard_until(0)
    assert [message.role for message in session.messages] == ["user"]
    session.heard_until(reply.audio.size // 2)
    half = session.messages[1].content
    assert reply.text.startswith(half) and 0 < len(half) < len(reply.text)
    twin = session.fork()
    session.heard_until(reply.audio.size)
    assert session.messages[1].content == reply.text
    assert twin.messages[1].content == half
    # an answer that somebody took out of the conversation stays out
    del twin.messages[1]
    twin.heard_until(reply.audio.size)
    assert [message.role for message in twin.messages] == ["user"]


def test_a_stream_may_be_told_after_the_user_speaks(omni: Omni) -> None:
    """Detecting the user's voice ends the stream; the player says a moment later what it played."""
    limits = {**LIMITS, "max_text_tokens": 40, "max_codes": 100}
    session = omni.session(system=None)
    stream = session.stream("Tell me", preset="fast", **limits)
    taken = sum(event.samples.size for event in stream if isinstance(event, PcmChunk))
    session.feed_audio(sound(0.1))
    whole_text = session.messages[1].content
    stream.cancel(played=taken // 2)
    session.feed_audio(sound(0.1))
    half = session.messages[1].content
    assert whole_text.startswith(half) and 0 < len(half) < len(whole_text)
    stream.cancel(played=taken)
    reply = session.generate("Go on", **LIMITS)
    assert session.messages[1].content == whole_text
    assert (reply.text_ids, reply.codes) == whole(omni, session)


def test_messages_show_a_reply_once_its_stream_has_ended(omni: Omni) -> None:
    limits = {**LIMITS, "max_text_tokens": 40, "max_codes": 3000}
    session = omni.session(system=None)
    stream = session.stream("Tell me", preset="fast", **limits)
    taken = 0
    while taken < 96_000:
        event = next(stream)
        taken += event.samples.size if isinstance(event, PcmChunk) else 0
    assert [message.role for message in session.messages] == ["user"]
    assert next(stream)  # looking has not ended it
    stream.cancel(played=10**9)
    said = session.messages[1].content
    assert said and stream.reply.text.startswith(said)
    stream.cancel(played=0)
    assert [message.role for message in session.messages] == ["user"]
    for event in session.stream("Tell me", preset="fast", **LIMITS):
        assert event
    assert [message.role for message in session.messages] == ["user", "user", "assistant"]
    session.messages = session.messages[:1]
    after = session.generate("Go on", **LIMITS)
    assert (after.text_ids, after.codes) == whole(omni, session)


def test_cancelling_ends_a_graph_call(omni: Omni, monkeypatch: pytest.MonkeyPatch) -> None:
    began, ended = threading.Event(), []
    run = OrtSession.run

    def noticed(session: OrtSession, binding: OrtBinding) -> None:
        if session._name == "vision_encoder":
            began.set()
        try:
            run(session, binding)
        except Cancelled:
            ended.append(session._name)
            raise

    monkeypatch.setattr(OrtSession, "run", noticed)
    picture = np.zeros((980, 980, 3), np.uint8)
    session = omni.session()
    stream = session.stream([{"type": "image", "image": picture}], **LIMITS)
    assert began.wait(60)
    stream.cancel()
    assert ended == ["vision_encoder"]
    reply = session.generate("Who are you?", **LIMITS)
    assert (reply.text_ids, reply.codes) == whole(omni, session)
