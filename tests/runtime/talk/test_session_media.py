"""A session reads, preprocesses and encodes each medium once, also while it listens."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from omnijet.runtime.cancel import Cancelled
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.omni import Omni
from omnijet.runtime.prompt import preprocess
from omnijet.runtime.talk.model import Model
from tests.clip import write_clip
from tests.runtime.talk.asking import LIMITS, RATE_HZ, TURNS, picture, sound, whole


def test_listening_is_hearing(omni: Omni, monkeypatch: pytest.MonkeyPatch) -> None:
    """5.3 s fed in odd pieces: the first two blocks are there before the question ends."""
    heard = sound(5.3, seed=4)
    session = omni.session(system=None)
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
    plain = omni.generate([{"role": "user", "content": parts}], system=None, **LIMITS)
    assert (reply.text_ids, reply.codes) == (plain.text_ids, plain.codes)


def test_a_louder_sound_later_changes_what_was_heard(omni: Omni) -> None:
    """The mel's floor follows the loudest moment: what lay under it is heard again."""
    heard = np.concatenate([1e-5 * sound(2.5, 1), 5 * sound(2.0, 2)])
    session = omni.session(system=None)
    for piece in np.array_split(heard, 9):
        session.feed_audio(piece)
    reply = session.generate("", **LIMITS)
    plain = omni.generate(
        [{"role": "user", "content": [{"type": "audio", "audio": (heard, RATE_HZ)}]}],
        system=None,
        **LIMITS,
    )
    assert (reply.text_ids, reply.codes) == (plain.text_ids, plain.codes)


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
    session = omni.session(system=None)
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
    session = omni.session(system=None)
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
    session = omni.session(system=None)
    content = [{"type": "video", "video": str(tmp_path / "clip.mp4")}]
    silent = session.generate(content, use_audio_in_video=False, **LIMITS)
    heard = session.generate("And its sound?", **LIMITS)
    assert heard.prompt_tokens > silent.prompt_tokens + 40
    assert (heard.text_ids, heard.codes) == whole(omni, session)


def test_a_question_whose_media_nobody_read_is_forgotten(
    omni: Omni, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file may be gone when the next turn would have to read it."""
    write_clip(tmp_path / "clip.mp4", 5, 4, sound=2.0)
    session = omni.session(system=None)
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
    session, other = omni.session(system=None), omni.session(system=None)
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
    session = omni.session(system=None)
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
    session = omni.session(system=None)
    for samples, words in [
        (np.zeros((5, 2), np.float32), "shape or dtype"),
        (np.zeros(5, np.int32), r"divide it by its full scale"),
        (np.zeros(5, np.uint8), "shape or dtype"),
        (np.zeros((2, 5), np.int16), r"samples.mean\(axis=0\) / 32768"),
        (b"\0\0", "frombuffer"),
        (np.array([0.0, np.nan]), "not finite"),
        (np.array([0.0, 3000.0]), "divide it by 32768"),
    ]:
        with pytest.raises(OmnijetError, match=words):
            session.feed_audio(samples)
    session.feed_audio(sound(0.01))
    with pytest.raises(OmnijetError, match="too short"):
        session.generate("Hello?", **LIMITS)


@pytest.mark.parametrize("dtype", [np.int16, ">i2", np.float64, np.float16])
def test_fed_sound_of_other_dtypes(omni: Omni, dtype: type) -> None:
    whole_numbers = np.arange(-32768, 32768, 2048)  # exact in every dtype
    session = omni.session(system=None)
    scale = 1 if np.dtype(dtype).kind == "i" else 32768
    session.feed_audio((whole_numbers / scale).astype(dtype))
    session.feed_audio(np.empty(0, dtype))
    assert session.heard.dtype == np.float32
    assert np.array_equal(session.heard, (whole_numbers / 32768).astype(np.float32))
