"""A conversation that is fed only what is new answers as one that is fed whole."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.omni import Omni
from omnijet.runtime.prompt.messages import Message
from omnijet.runtime.talk import model as model_module
from omnijet.runtime.talk.clock import Clock
from omnijet.runtime.talk.model import Model
from omnijet.runtime.talk.options import Options
from omnijet.runtime.talk.turn import Turn
from tests.runtime.talk.asking import LIMITS, TURNS, whole
from tests.threads import new_threads


def test_every_turn_is_that_of_the_whole_conversation(omni: Omni) -> None:
    with omni.session(system="You listen.") as session:
        for content in TURNS:
            reply = session.generate(content, **LIMITS)
            assert (reply.text_ids, reply.codes) == whole(omni, session)
    assert [message.role for message in session.messages] == ["system", *["user", "assistant"] * 4]


def test_only_what_is_new_is_fed(omni: Omni, monkeypatch: pytest.MonkeyPatch) -> None:
    session = omni.session(system=None)
    session.generate(TURNS[0], **LIMITS)
    looked = []
    encode = type(omni.model.eyes).encode
    monkeypatch.setattr(
        type(omni.model.eyes), "encode", lambda *a, **b: looked.append(1) or encode(*a, **b)
    )
    calls = session.memory.thinker.calls
    known = len(session.memory)
    reply = session.generate("And now?", **LIMITS, lookup=False)  # one call a token
    assert not looked
    assert session.memory.thinker.calls - calls == 1 + len(reply.text_ids) - 1
    assert reply.prompt_tokens > known > 0


def test_streamed_turns_and_barge_in(omni: Omni) -> None:
    draw = random.Random(0)
    session = omni.session(system=None, overflow="drop oldest")
    for number in range(12):
        stream = session.stream(f"Number {number}", preset="fast", **LIMITS)
        stop = draw.randrange(12)
        for count, _ in enumerate(stream):
            if count == stop:
                stream.cancel()
    reply = session.generate("Still there?", **LIMITS)
    assert (reply.text_ids, reply.codes) == whole(omni, session)
    assert not new_threads()


def test_a_dropped_stream_of_a_session_is_cancelled(omni: Omni) -> None:
    session = omni.session(system=None)
    stream = session.stream("Hello", preset="fast", **{**LIMITS, "max_codes": 3000})
    next(stream)
    del stream
    assert not new_threads()
    reply = session.generate("Still there?", **LIMITS)
    # of the first answer nothing was heard
    assert [message.role for message in session.messages] == ["user", "user", "assistant"]
    assert (reply.text_ids, reply.codes) == whole(omni, session)


def test_a_fork_goes_its_own_way(omni: Omni) -> None:
    session = omni.session(system=None)
    session.generate(TURNS[0], **LIMITS)
    twin = session.fork()
    one = session.generate("First?", **LIMITS)
    two = twin.generate("Another question altogether", **LIMITS)
    assert (one.text_ids, one.codes) == whole(omni, session)
    assert (two.text_ids, two.codes) == whole(omni, twin)
    assert len(session.messages) == len(twin.messages) == 4


def test_reset_forgets(omni: Omni) -> None:
    session = omni.session(system="Short.")
    first = session.generate("Hello", **LIMITS)
    session.reset()
    assert [message.role for message in session.messages] == ["system"]
    again = session.generate("Hello", **LIMITS)
    assert (first.text_ids, first.codes) == (again.text_ids, again.codes)


def test_a_conversation_that_outgrows_the_cache(omni: Omni) -> None:
    small = Omni(Model(omni.bundle, omni.model.backend, context_limit=220))
    strict, lenient = small.session(system=None), small.session(system="S", overflow="drop oldest")
    with pytest.raises(OmnijetError, match="does not fit the KV cache"):
        for _ in range(20):
            strict.generate("Tell me more about it, please.", **LIMITS)
    for _ in range(20):
        reply = lenient.generate("Tell me more about it, please.", **LIMITS)
        assert len(reply.codes) > 5
    assert (reply.text_ids, reply.codes) == whole(small, lenient)
    assert lenient.messages[0].role == "system" and len(lenient.messages) < 20
    with pytest.raises(OmnijetError, match="does not fit the KV cache"):
        lenient.generate("word " * 300, **LIMITS)
    assert lenient.generate("Short again", **LIMITS).codes
    with pytest.raises(OmnijetError, match="overflow"):
        small.session(overflow="forget")


def test_the_fewest_that_must_go_are_found_in_few_tries(
    omni: Omni, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every try lays out all messages that are left."""
    small = Omni(Model(omni.bundle, omni.model.backend, context_limit=400))
    past = [
        Message(role, words)
        for number in range(16)
        for role, words in (("user", f"Question {number}"), ("assistant", "Yes."))
    ]
    tries = []
    build = model_module.build_prompt
    monkeypatch.setattr(
        model_module, "build_prompt", lambda *a, **b: tries.append(a[0]) or build(*a, **b)
    )
    gone = []
    for words in (1, 15, 40, 60, 85):
        session = small.session(system=None, overflow="drop oldest")
        session.messages = list(past)
        tries.clear()
        session.generate("word " * words, speech=False, **LIMITS)
        assert len(tries) <= 6
        session.fork()  # settles the turn
        gone.append(len(past) + 2 - len(session.messages))
        # one question and answer more would not have fitted
        asked = [*past[gone[-1] - 2 :], *session.messages[-2:-1]]
        tight = Turn.of(small.model, Options.of(speech=False), Clock(), overflow="drop oldest")
        assert tight._is_tight(tight._prompt(asked))
    assert gone == sorted(set(gone)) and gone[0] >= 2


def test_a_turn_that_fails_was_not_asked(
    omni: Omni, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = omni.session(system=None)
    reply = session.generate("Tell me", **LIMITS)
    before = list(session.messages)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(OmnijetError, match="cannot be read"):
        session.generate([{"type": "image", "image": str(tmp_path / "bad.png")}], **LIMITS)
    assert session.messages == before
    with monkeypatch.context() as patch:  # after the text, before any sound
        patch.setattr(Model, "mel_of", interrupted)
        with pytest.raises(KeyboardInterrupt):
            session.generate("Tell me more", **LIMITS)
    assert session.messages == before
    # what was heard of the answer before can still be said
    session.heard_until(0)
    assert [message.role for message in session.messages] == ["user"]
    session.heard_until(reply.audio.size)
    after = session.generate("Go on", **LIMITS)
    assert (after.text_ids, after.codes) == whole(omni, session)


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_question_that_fits_nowhere_drops_nothing(omni: Omni) -> None:
    small = Omni(Model(omni.bundle, omni.model.backend, context_limit=220))
    session = small.session(system="S", overflow="drop oldest")
    for number in range(3):
        session.generate(f"Number {number}", speech=False, **LIMITS)
    before = list(session.messages)
    with pytest.raises(OmnijetError, match="does not fit the KV cache"):
        session.generate("word " * 300, **LIMITS)
    assert session.messages == before
    # a system prompt of the user's own survives, too
    session = small.session(system=None, overflow="drop oldest")
    session.messages.append(Message("system", "Short."))
    for _ in range(12):
        session.generate("Tell me more about it, please.", speech=False, **LIMITS)
    session.reset()
    assert session.messages == [Message("system", "Short.")]


def test_a_closed_model_says_so(nano: tuple[Path, Path]) -> None:
    before = set(threading.enumerate())
    with Omni.open(nano[1], backend=OrtBackend(threads=1)) as omni:
        session = omni.session(system=None)
        stream = session.stream("Hello", preset="fast", **{**LIMITS, "max_codes": 3000})
        next(stream)
    assert set(threading.enumerate()) <= before
    omni.close()  # once more does no harm
    for ask in (
        lambda: omni.generate([{"role": "user", "content": "Hello"}]),
        lambda: session.generate("Hello"),
        lambda: omni.load(),
    ):
        with pytest.raises(OmnijetError, match="was closed"):
            ask()
