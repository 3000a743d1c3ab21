"""Tests of the world: held-out texts, one right answer per question, and media that show it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from random import Random

import numpy as np
import pytest

from omnijet.nano.training import banks
from omnijet.nano.world import words
from omnijet.nano.world.bank import Bank, write_bank
from omnijet.nano.world.clips import (
    Clip,
    clip_frame,
    clip_sound,
    random_clip,
    soundtrack,
    write_clip,
)
from omnijet.nano.world.pictures import RGB, draw_scene
from omnijet.nano.world.skills import Picture, Utterance, converse, hear, see, watch
from omnijet.nano.world.sounds import add_noise, beep
from omnijet.nano.world.speech import (
    RATE_HZ,
    SEEN_ESPEAK,
    SEEN_FLITE,
    UNSEEN,
    Manner,
    say,
    seen_manner,
)
from omnijet.nano.world.speech_mel import speech_mel, to_speech_rate
from omnijet.runtime.media.video import load_video

needs_flite = pytest.mark.skipif(
    shutil.which("flite") is None, reason="flite is not installed (Debian package flite)"
)


def test_the_vocabulary_is_closed() -> None:
    rng = Random(0)
    for _ in range(500):
        assert set(words.reply(rng).split()) <= set(words.REPLY_WORDS)
        assert set(words.utterance(rng).split()) <= set(words.REPLY_WORDS)
        for item in (see(rng), watch(rng), converse(rng, ["one two"])):
            assert set(item.answer.split()) <= set(words.REPLY_WORDS)
    assert len(words.WORDS) == len(set(words.WORDS)) < 60


def test_held_out_texts_are_in_no_bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The texts of all banks are listed without synthesizing them."""
    said: set[str] = set()

    def noted(path: Path, wanted: Iterable[tuple[str, Manner]]) -> None:
        said.update(text for text, _ in wanted)

    monkeypatch.setattr(banks, "write_bank", noted)
    for bank in (banks.heard_bank, banks.reply_bank, banks.line_bank):
        bank(tmp_path)
    rng = Random(1)
    held = {words.held_out_text(rng, words.utterance) for _ in range(400)}
    assert len(said) > 4000 and all(len(text.split()) < 3 for text in held & said)
    assert sum(len(text.split()) >= 3 for text in held) > 100


def test_unseen_manners_are_never_drawn_in_training() -> None:
    rng = Random(2)
    assert len(UNSEEN) == 8
    assert not set(UNSEEN) & {*SEEN_FLITE, *SEEN_ESPEAK}
    drawn = {seen_manner(rng) for _ in range(3000)}
    assert drawn <= {*SEEN_FLITE, *SEEN_ESPEAK}
    assert {manner.engine for manner in drawn} == {"flite", "espeak-ng"}


def test_answers_follow_from_what_is_shown_and_said() -> None:
    rng = Random(3)
    assert hear(rng, "go left").answer == "go left"
    for _ in range(300):
        item = converse(rng, ["four seven one"])
        (first, first_answer), (asked, answer) = item.turns
        question = asked[0].text if isinstance(asked[0], Utterance) else asked[0]
        question = words.spoken_form(str(question))
        if isinstance(first[0], Utterance):
            assert answer == {"which was first": "four", "which was last": "one"}[question]
            continue
        shown = first[0]
        assert isinstance(shown, Picture) and first_answer == shown.description
        wanted = {
            "how many": words.COUNTS[shown.count - 1],
            "which colour": shown.colour,
            "which shape": shown.shape,
            f"is it {shown.colour}": "yes",
        }
        assert answer == wanted.get(question, "no")


@pytest.mark.parametrize("colour", words.COLOURS)
@pytest.mark.parametrize("shape", words.SHAPES)
def test_pictures_show_their_colour(colour: str, shape: str) -> None:
    areas = []
    for count in (1, 4):
        picture = np.asarray(draw_scene(count, colour, shape, Random(4))).astype(int)
        near = np.abs(picture - np.array(RGB[colour])).max(-1) <= 16
        others = [name for name in RGB if name != colour]
        for other in others:
            wrong = np.abs(picture - np.array(RGB[other])).max(-1) <= 16
            assert (wrong & ~near).sum() < 0.1 * near.sum()
        areas.append(near.mean())
    assert min(areas) > 0.01 and max(areas) < 0.5


def test_a_scene_of_four_holds_four_pieces() -> None:
    """A flood fill counts the shapes, which do not touch."""
    for seed in range(5):
        picture = np.asarray(draw_scene(4, "white", "circle", Random(seed)))[..., 0] > 150
        pieces = 0
        while picture.any():
            pieces += 1
            stack = [tuple(np.argwhere(picture)[0])]
            while stack:
                row, column = stack.pop()
                if picture[row, column]:
                    picture[row, column] = False
                    for down, across in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                        stack.append((min(111, row + down), min(111, column + across)))
        assert pieces == 4


def test_the_beep_is_in_its_second() -> None:
    for seed in range(30):
        clip = random_clip(Random(seed))
        assert len({colour for colour, _ in clip.scenes}) == len(clip.scenes)
        assert clip.answer == clip.scenes[clip.beep_second][0]
        sound = clip_sound(clip)
        assert len(sound) == len(clip.scenes) * RATE_HZ
        # a tone has most of its energy above 600 Hz in one line of the spectrum
        share = []
        for second in range(len(clip.scenes)):
            power = np.abs(np.fft.rfft(sound[second * RATE_HZ : (second + 1) * RATE_HZ])) ** 2
            share.append(power[600:1600].max() * (power[600:1600].max() > 1))
        assert int(np.argmax(share)) == clip.beep_second


def test_soundtracks_name_their_events() -> None:
    rng = np.random.default_rng(0)
    for seconds in (3, 4, 5):
        _, events = soundtrack(seconds, rng)
        assert events.count(words.BEEP) == 1 and len(events) <= seconds


def test_a_written_clip_shows_each_scene_in_its_second(tmp_path: Path) -> None:
    from omnijet.export.synthetic.checkpoint import PREPROCESSOR
    from omnijet.runtime.bundle.preprocessing import Preprocessing

    preprocessing = Preprocessing.from_preprocessor_config(PREPROCESSOR)
    clip = Clip((("red", "star"), ("green", "circle"), ("blue", "square")), 2, 11)
    write_clip(clip, tmp_path / "clip.mp4")
    video = load_video(tmp_path / "clip.mp4", preprocessing, True, "clip")
    assert video.frames.shape == (6, 224, 448, 3)
    assert video.audio is not None and abs(len(video.audio) - 3 * RATE_HZ) < RATE_HZ // 10
    for number, frame in enumerate(video.frames):
        wanted = np.asarray(clip_frame(clip, number // 2).resize((448, 224))).astype(int)
        assert np.abs(frame.astype(int) - wanted).mean() < 6
    spectrum = np.abs(np.fft.rfft(video.audio[2 * RATE_HZ : 3 * RATE_HZ]))
    before = np.abs(np.fft.rfft(video.audio[RATE_HZ : 2 * RATE_HZ]))
    assert spectrum[650:1550].max() > 5 * before[650:1550].max()


def test_noise_keeps_the_sound() -> None:
    sound = beep(np.random.default_rng(5))
    for seed in range(20):
        noisy = add_noise(sound, np.random.default_rng(seed))
        assert noisy.shape == sound.shape and np.abs(noisy).max() <= 1
        assert np.corrcoef(sound, noisy)[0, 1] > 0.9


def test_the_speech_mel_has_a_frame_per_hop() -> None:
    wave = to_speech_rate(np.sin(np.arange(16_000) * 0.3).astype(np.float32))
    mel = speech_mel(wave)
    assert len(wave) == 24_000 and mel.shape == (100, 80)
    # 0.3 rad a sample at 16 kHz: 764 Hz, which is band 16 of 80 up to 8 kHz
    assert int(mel.mean(0).argmax()) == 18 or int(mel.mean(0).argmax()) in range(15, 21)
    assert np.exp(mel).max() > 100 * np.exp(np.median(mel))


@needs_flite
def test_flite_speaks_and_obeys(tmp_path: Path) -> None:
    plain, slow = (say("four seven one", Manner("flite", "slt", s)) for s in (1.0, 1.3))
    assert 1.2 < len(slow) / len(plain) < 1.4
    assert np.abs(plain.astype(int)).max() > 3000
    pairs = [("yes", Manner("flite", "slt")), ("no", Manner("flite", "rms"))]
    bank = write_bank(tmp_path / "bank.npz", pairs)
    again = write_bank(tmp_path / "bank.npz", [])
    assert isinstance(again, Bank) and again.texts == ["yes", "no"] == bank.texts
    np.testing.assert_array_equal(again.sound(1) * 32768, say("no", Manner("flite", "rms")))
