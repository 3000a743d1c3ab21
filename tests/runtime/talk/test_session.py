"""A conversation that is fed only what is new answers as one that is fed whole."""

from __future__ import annotations

import random
import threading

import numpy as np
import pytest

from omnijet.runtime import pipeline
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.omni import Omni
from omnijet.runtime.prompt.messages import Message
from omnijet.runtime.talk.clock import Clock
from omnijet.runtime.talk.options import Options
from omnijet.runtime.talk.session import Session

LIMITS = {"seed": 5, "greedy": True, "max_text_tokens": 8, "max_codes": 30}
RATE_HZ = 16_000


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(int(seconds * RATE_HZ))).astype(np.float32)


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (70, 90, 3), dtype=np.uint8)


TURNS = (
    [{"type": "image", "image": picture(1)}, {"type": "text", "text": "What is this?"}],
    [{"type": "audio", "audio": (sound(2.7), RATE_HZ)}],
    "And now?",
    [{"type": "image", "image": picture(2)}, {"type": "text", "text": "What is this?"}],
)


def whole(omni: Omni, session: Session) -> tuple[list[int], list[int]]:
    """The answer to the same conversation given at once: its last reply taken off."""
    asked = omni.turn(Options.of(**LIMITS), Clock())
    reply = omni.answer(asked, tuple(session.messages[:-1]))
    return reply.text_ids, reply.codes


def test_every_turn_is_that_of_the_whole_conversation(omni: Omni) -> None:
    with omni.session(system="You listen.") as session:
        for content in TURNS:
            reply = session.generate(content, **LIMITS)
            assert (reply.text_ids, reply.codes) == whole(omni, session)
    assert [message.role for message in session.messages] == ["system", *["user", "assistant"] * 4]


def test_only_what_is_new_is_fed(omni: Omni, monkeypatch: pytest.MonkeyPatch) -> None:
    session = omni.session()
    session.generate(TURNS[0], **LIMITS)
    looked = []
    encode = type(omni.eyes).encode
    monkeypatch.setattr(
        type(omni.eyes), "encode", lambda *a, **b: looked.append(1) or encode(*a, **b)
    )
    calls = session.memory.thinker.calls
    known = len(session.memory)
    reply = session.generate("And now?", **LIMITS)
    assert not looked
    assert session.memory.thinker.calls - calls == 1 + len(reply.text_ids) - 1
    assert reply.prompt_tokens > known > 0


def test_streamed_turns_and_barge_in(omni: Omni) -> None:
    draw = random.Random(0)
    session = omni.session(overflow="drop oldest")
    for number in range(12):
        stream = session.stream(f"Number {number}", preset="fast", **LIMITS)
        stop = draw.randrange(12)
        for count, _ in enumerate(stream):
            if count == stop:
                stream.cancel()
    reply = session.generate("Still there?", **LIMITS)
    assert (reply.text_ids, reply.codes) == whole(omni, session)
    assert not [t for t in threading.enumerate() if t.name.startswith("omnijet")]


def test_a_dropped_stream_of_a_session_is_cancelled(omni: Omni) -> None:
    session = omni.session()
    stream = session.stream("Hello", preset="fast", **{**LIMITS, "max_codes": 3000})
    next(stream)
    del stream
    assert not [t for t in threading.enumerate() if t.name.startswith("omnijet")]
    reply = session.generate("Still there?", **LIMITS)
    assert [message.role for message in session.messages] == ["user", "assistant"] * 2
    assert (reply.text_ids, reply.codes) == whole(omni, session)


def test_a_fork_goes_its_own_way(omni: Omni) -> None:
    session = omni.session()
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


def test_listening_is_hearing(omni: Omni, monkeypatch: pytest.MonkeyPatch) -> None:
    """5.3 s fed in odd pieces: the first two blocks are there before the question ends."""
    heard = sound(5.3, seed=4)
    session = omni.session()
    for piece in np.array_split(heard, 37):
        session.feed_audio(piece)
    chunks = []
    encode = type(omni.ears).encode

    def noted(self, mels, check=lambda: None):
        chunks.append(sum(mel.shape[1] for mel in mels))
        return encode(self, mels, check)

    monkeypatch.setattr(type(omni.ears), "encode", noted)
    known = len(session.memory)
    reply = session.generate("What do you hear?", **LIMITS)
    assert known > 100 and chunks == [130]  # of 530 mel frames
    parts = [
        {"type": "audio", "audio": (heard, RATE_HZ)},
        {"type": "text", "text": "What do you hear?"},
    ]
    plain = omni.generate([{"role": "user", "content": parts}], **LIMITS)
    assert (reply.text_ids, reply.codes) == (plain.text_ids, plain.codes)


def test_a_louder_sound_later_changes_what_was_heard(omni: Omni) -> None:
    """The mel's floor follows the loudest moment: what lay under it is heard again."""
    heard = np.concatenate([1e-5 * sound(2.5, 1), 5 * sound(2.0, 2)])
    session = omni.session()
    for piece in np.array_split(heard, 9):
        session.feed_audio(piece)
    reply = session.generate("", **LIMITS)
    plain = omni.generate(
        [{"role": "user", "content": [{"type": "audio", "audio": (heard, RATE_HZ)}]}], **LIMITS
    )
    assert (reply.text_ids, reply.codes) == (plain.text_ids, plain.codes)


def test_a_conversation_that_outgrows_the_cache(omni: Omni) -> None:
    small = Omni(omni.bundle, omni.backend, context_limit=220)
    strict, lenient = small.session(), small.session(system="S", overflow="drop oldest")
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
    """Every try loads all media that are left."""
    small = Omni(omni.bundle, omni.backend, context_limit=400)
    past = [
        Message(role, words)
        for number in range(16)
        for role, words in (("user", f"Question {number}"), ("assistant", "Yes."))
    ]
    tries = []
    build = pipeline.build_prompt
    monkeypatch.setattr(
        pipeline, "build_prompt", lambda *a, **b: tries.append(a[0]) or build(*a, **b)
    )
    gone = []
    for words in (1, 15, 40, 60, 85):
        session = small.session(overflow="drop oldest")
        session.messages = list(past)
        tries.clear()
        session.generate("word " * words, speech=False, **LIMITS)
        assert len(tries) <= 6
        session.fork()  # settles the turn
        gone.append(len(past) + 2 - len(session.messages))
        # one question and answer more would not have fitted
        asked = [*past[gone[-1] - 2 :], *session.messages[-2:-1]]
        tight = small.turn(Options.of(speech=False), Clock(), overflow="drop oldest")
        assert tight._is_tight(tight._prompt(asked))
    assert gone == sorted(set(gone)) and gone[0] >= 2
