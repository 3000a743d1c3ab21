"""A conversation that is fed only what is new answers as one that is fed whole."""

from __future__ import annotations

import random
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.cancel import Cancelled
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.omni import Omni
from omnijet.runtime.prompt import preprocess
from omnijet.runtime.prompt.messages import Message
from omnijet.runtime.talk import model as model_module
from omnijet.runtime.talk.clock import Clock
from omnijet.runtime.talk.model import Model
from omnijet.runtime.talk.options import Options
from omnijet.runtime.talk.reply import PcmChunk
from omnijet.runtime.talk.session import Session
from omnijet.runtime.talk.turn import Turn
from tests.clip import write_clip
from tests.threads import new_threads

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
    asked = Turn.of(omni.model, Options.of(**LIMITS), Clock())
    reply = asked.answer(tuple(session.messages[:-1]))
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
    encode = type(omni.model.eyes).encode
    monkeypatch.setattr(
        type(omni.model.eyes), "encode", lambda *a, **b: looked.append(1) or encode(*a, **b)
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
    assert not new_threads()


def test_a_dropped_stream_of_a_session_is_cancelled(omni: Omni) -> None:
    session = omni.session()
    stream = session.stream("Hello", preset="fast", **{**LIMITS, "max_codes": 3000})
    next(stream)
    del stream
    assert not new_threads()
    reply = session.generate("Still there?", **LIMITS)
    # of the first answer nothing was heard
    assert [message.role for message in session.messages] == ["user", "user", "assistant"]
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
    encode = type(omni.model.ears).encode

    def noted(self, mels, check=lambda: None):
        chunks.append(sum(mel.shape[1] for mel in mels))
        return encode(self, mels, check)

    monkeypatch.setattr(type(omni.model.ears), "encode", noted)
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
    small = Omni(Model(omni.bundle, omni.model.backend, context_limit=220))
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
        session = small.session(overflow="drop oldest")
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


def test_a_medium_is_read_and_encoded_once(
    omni: Omni, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later turns need neither its file nor the encoders; not even when the cache starts anew."""
    write_clip(tmp_path / "clip.mp4", 6, 4, sound=2.5)
    session = omni.session(system="You watch.")
    content = [
        {"type": "video", "video": str(tmp_path / "clip.mp4")},
        {"type": "image", "image": picture(3)},
        {"type": "audio", "audio": sound(1.3)},
        {"type": "text", "text": "What happens?"},
    ]
    session.generate(content, **LIMITS)
    shutil.move(tmp_path / "clip.mp4", tmp_path / "elsewhere.mp4")
    for encoder in (type(omni.model.eyes), type(omni.model.ears)):
        monkeypatch.setattr(encoder, "encode", lambda *a, **b: pytest.fail("encoded again"))
    second = session.generate("And then?", **LIMITS)
    third = session.generate("Was it loud?", use_audio_in_video=False, **LIMITS)
    kept = session.media_bytes
    session.memory = type(session.memory)()  # as if the caches were lost
    again = session.generate("Is that all?", **LIMITS)
    assert session.media_bytes == kept
    monkeypatch.undo()
    assert second.codes and third.codes
    assert (again.text_ids, again.codes) == whole(omni, session)
    # the same questions asked by somebody who still has the file
    content[0] = {"type": "video", "video": str(tmp_path / "elsewhere.mp4")}
    other = omni.session(system="You watch.")
    other.generate(content, **LIMITS)
    twin = other.generate("And then?", **LIMITS)
    assert (second.text_ids, second.codes) == (twin.text_ids, twin.codes)


def test_what_is_kept_of_media_is_a_row_for_each_token(omni: Omni) -> None:
    session = omni.session()
    assert session.media_bytes == 0
    session.generate(TURNS[0], **LIMITS)
    rows = sum(row < 0 for row in session.memory.fingerprints.tolist())
    assert session.media_bytes == 4 * rows * omni.model.dims.thinker.hidden
    part = session.messages[0].parts[0]
    assert part.source is None and part.medium.seen.content is None
    session.reset()
    assert session.media_bytes == 0


def test_listening_opens_no_earlier_medium(
    omni: Omni, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path / "clip.mp4", 5, 4, sound=2.0)
    session = omni.session()
    session.generate([{"type": "video", "video": str(tmp_path / "clip.mp4")}], **LIMITS)
    (tmp_path / "clip.mp4").unlink()
    heard = sound(4.6, seed=9)
    for piece in np.array_split(heard, 23):
        session.feed_audio(piece)
    listened = session.media_bytes
    reply = session.generate("What did I say?", **LIMITS)
    assert (reply.text_ids, reply.codes) == whole(omni, session)
    assert listened > 4 * heard.size  # the sound itself is counted while it grows
    assert session.heard.size == 0


def test_a_clip_that_was_only_looked_at_is_heard_later(omni: Omni, tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", 5, 4, sound=2.0)
    session = omni.session()
    content = [{"type": "video", "video": str(tmp_path / "clip.mp4")}]
    silent = session.generate(content, use_audio_in_video=False, **LIMITS)
    heard = session.generate("And its sound?", **LIMITS)
    assert heard.prompt_tokens > silent.prompt_tokens + 40
    assert (heard.text_ids, heard.codes) == whole(omni, session)


def test_barge_in_keeps_what_had_sounded(omni: Omni) -> None:
    session = omni.session()
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
    full = omni.generate([{"role": "user", "content": "Tell me"}], **limits).text
    session = omni.session()
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
    session = omni.session()
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
    session = omni.session()
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
    session = omni.session()
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
    session = omni.session()
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


def test_a_turn_that_fails_was_not_asked(
    omni: Omni, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = omni.session()
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
    session = small.session(overflow="drop oldest")
    session.messages.append(Message("system", "Short."))
    for _ in range(12):
        session.generate("Tell me more about it, please.", speech=False, **LIMITS)
    session.reset()
    assert session.messages == [Message("system", "Short.")]


def test_a_question_whose_media_nobody_read_is_forgotten(
    omni: Omni, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file may be gone when the next turn would have to read it."""
    write_clip(tmp_path / "clip.mp4", 5, 4, sound=2.0)
    session = omni.session()
    prompts = Model.prompt
    reached, go = threading.Event(), threading.Event()

    def slow(model: Model, *given: object, **options: object):
        reached.set()
        go.wait(10)
        raise Cancelled

    monkeypatch.setattr(Model, "prompt", slow)
    stream = session.stream([{"type": "video", "video": str(tmp_path / "clip.mp4")}], **LIMITS)
    reached.wait(10)
    threading.Timer(0.05, go.set).start()
    stream.cancel()
    monkeypatch.setattr(Model, "prompt", prompts)
    (tmp_path / "clip.mp4").unlink()
    reply = session.generate("Hello", **LIMITS)
    assert [message.content for message in session.messages[:1]] == ["Hello"]
    assert (reply.text_ids, reply.codes) == whole(omni, session)


def test_the_sound_of_a_clip_is_wanted_later(
    omni: Omni, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its picture is not decoded again, and it may be gone."""
    for name in ("kept.mp4", "gone.mp4"):
        write_clip(tmp_path / name, 5, 4, sound=2.0)
    session, other = omni.session(), omni.session()
    silent = {**LIMITS, "use_audio_in_video": False}
    session.generate([{"type": "video", "video": str(tmp_path / "kept.mp4")}], **silent)
    first = other.generate([{"type": "video", "video": str(tmp_path / "gone.mp4")}], **silent)
    (tmp_path / "gone.mp4").unlink()
    monkeypatch.setattr(type(omni.model.eyes), "encode", lambda *a, **b: pytest.fail("again"))
    monkeypatch.setattr(preprocess, "load_video", lambda *a: pytest.fail("decoded again"))
    heard = session.generate("And its sound?", **LIMITS)
    assert heard.prompt_tokens > first.prompt_tokens + 40
    # listening reads no sound that turns did not want
    known = len(other.memory)
    other.feed_audio(sound(2.6))
    assert len(other.memory) > known
    assert not other.messages[0].parts[0].medium.sound_was_read
    reply = other.generate("And its sound?", **LIMITS)
    assert other.messages[0].parts[0].medium.sound_was_read
    monkeypatch.undo()
    assert (reply.text_ids, reply.codes) == whole(omni, other)


def test_what_lies_beyond_the_longest_sound_is_not_kept(
    omni: Omni, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        omni.model, "preprocessing", replace(omni.model.preprocessing, max_audio_seconds=3)
    )
    session = omni.session()
    for second in range(6):
        session.feed_audio(sound(1.0, second))
        held = session.media_bytes
    assert session.heard.size == 3 * RATE_HZ
    session.feed_audio(sound(1.0))
    assert session.media_bytes == held
    assert [record.message for record in caplog.records] == [
        "only the first 3 s of the sound are heard"
    ]


def test_unusable_fed_sound(omni: Omni) -> None:
    session = omni.session()
    for samples, words in [
        (np.zeros((5, 2), np.float32), "shape or dtype"),
        (np.zeros(5, np.int16), "shape or dtype"),
        (np.array([0.0, np.nan]), "not finite"),
    ]:
        with pytest.raises(OmnijetError, match=words):
            session.feed_audio(samples)
    session.feed_audio(sound(0.01))
    with pytest.raises(OmnijetError, match="too short"):
        session.generate("Hello?", **LIMITS)


def test_a_closed_model_says_so(nano: tuple[Path, Path]) -> None:
    before = set(threading.enumerate())
    with Omni.open(nano[1], backend=OrtBackend(threads=1)) as omni:
        session = omni.session()
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
