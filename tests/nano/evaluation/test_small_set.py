"""Tests of `omnijet eval` from end to end on a random bundle and a small set made here.

A random bundle has no right answers. The tests check that every score is present and counts its
items, and that faults are reported.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

import omnijet
from omnijet import cli
from omnijet.nano.evaluation.answers import SHUFFLED, ShuffledTime
from omnijet.nano.evaluation.heldout import LINES, open_set
from omnijet.nano.evaluation.recogniser import Recogniser
from omnijet.nano.evaluation.speech import STAGES, _stages
from omnijet.runtime.omni import Omni
from omnijet.runtime.prompt.layout import Prompt
from omnijet.runtime.prompt.messages import parse_messages
from tests.clip import write_clip
from tests.command import Capture, refused

CODES = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]
ORIGINAL_SECONDS = 0.75
NO_MEDIA = [{"type": "text", "text": "Which was last?"}]


def items() -> list[dict[str, Any]]:
    """Returns two items of each skill; the second has an unseen manner."""
    sound = {"type": "audio", "audio": "hear/0.ogg"}
    seen = [{"type": "image", "image": "see/0.png"}, {"type": "text", "text": "What?"}]
    clip = {"type": "video", "video": "watch/0.mp4"}
    question = {"parts": NO_MEDIA, "answer": "two"}
    made: list[dict[str, Any]] = []
    for unseen in (False, True):
        one = {"hear": [sound], "see": seen, "watch": [clip, sound]}
        for skill, parts in one.items():
            turns = [{"parts": parts, "answer": "one two"}]
            made.append({"skill": skill, "turns": turns, "manner": None, "unseen": unseen})
        turns = [{"parts": [sound], "answer": "one two"}, question]
        made.append({"skill": "converse", "turns": turns, "manner": None, "unseen": unseen})
        voice = "Ethan" if unseen else "Chelsie"
        made.append(
            {**made[-4], "skill": "speak", "voice": voice, "original": "speak/0.ogg",
             "codes": CODES}
        )  # fmt: skip
    return made


def write_set(folder: Path, *changed: dict[str, Any]) -> Path:
    """Writes a set of the items above and the given ones, with their media."""
    time = np.arange(int(16_000 * ORIGINAL_SECONDS)) / 16_000
    sine = (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    media = {name: folder / name.replace("/", "-") for name in MEDIA}
    soundfile.write(media["hear/0.ogg"], sine, 16_000, format="OGG", subtype="OPUS")
    soundfile.write(media["speak/0.ogg"], sine[::-1], 16_000, format="OGG", subtype="OPUS")
    Image.fromarray(pixels).save(media["see/0.png"])
    write_clip(media["watch/0.mp4"], 25, 10, sound=2.5)
    path = folder / "set.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name, source in media.items():
            file.write(source, name)
            source.unlink()
        lines = [json.dumps(item) for item in (*items(), *changed)]
        file.writestr(LINES, "\n".join(lines) + "\n")
    return path


MEDIA = ("hear/0.ogg", "see/0.png", "watch/0.mp4", "speak/0.ogg")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("set"))


def test_every_score_and_every_failure(
    nano: tuple[Path, Path], small: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "scores.json"
    command = ["eval", str(nano[1]), "--set", str(small), "--format", "json", "--out", str(out)]
    assert cli.main(command) == 0
    results = json.loads(capsys.readouterr().out)
    assert results == json.loads(out.read_text()) and list(tmp_path.iterdir()) == [out]
    assert results["bundle"] == nano[1].name and results["provenance"]["config_sha256"]
    assert len(results["set_sha256"]) == 64 and results["greedy"] is False
    counts = {
        "hear": 2, "hear, seen manners": 1, "hear, unseen manners": 1, "see": 2, "watch": 2,
        SHUFFLED: 2, "converse": 2,
    }  # fmt: skip
    for stage in STAGES:
        counts |= {f"speak, {stage}{by}": 1 if by else 2 for by in ("", ", Chelsie", ", Ethan")}
    assert {score["name"]: score["items"] for score in results["scores"]} == counts
    for score in results["scores"]:
        assert score["kind"] == ("word error rate" if "speak" in score["name"] else "exact match")
        assert 0 <= score["low"] <= score["value"] + 1e-9 and score["value"] <= score["high"] + 1e-9
    failed = {(failure["row"], failure["number"]) for failure in results["failures"]}
    assert {(skill, n) for skill in ("hear", "see", "watch", "converse") for n in (0, 1)} <= failed
    assert {failure["expected"] for failure in results["failures"]} == {"one two", "two"}


def test_items_and_skills_choose(nano: tuple[Path, Path], small: Path, capsys: Capture) -> None:
    chosen = ("--skill", "see", "--skill", "converse", "--items", "1")
    assert cli.main(["eval", str(nano[1]), "--set", str(small), *chosen]) == 0
    captured = capsys.readouterr()
    assert "not Omnijet-nano" in captured.err  # random weights, another tokenizer
    lines = captured.out.splitlines()
    rows = [line for line in lines if "exact match" in line]
    assert [row.split()[1] for row in rows] == ["see", "converse"]
    assert all(row.split()[-2] == "1" for row in rows)


def test_a_right_answer_counts(
    nano: tuple[Path, Path], small: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """The answer to the last turn is compared, apart from white space."""
    answers = iter(("two\n", "one two"))

    def generate(self: Omni, messages: Any, **options: Any) -> Any:
        assert options["speech"] is False and messages[0]["role"] == "system"
        return type("Reply", (), {"text": next(answers)})

    monkeypatch.setattr(Omni, "generate", generate)
    command = ["eval", str(nano[1]), "--set", str(small), "--skill", "converse"]
    assert cli.main([*command, "--format", "json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["scores"][0]["value"] == 0.5
    assert results["failures"] == [
        {"row": "converse", "number": 1, "expected": "two", "got": "one two"}
    ]


def laid_out(omni: Omni, messages: Any) -> Prompt:
    return omni.model.prompt(parse_messages(messages))


def test_only_a_clips_time_ids_are_shuffled(omni: Omni, small: Path, tmp_path: Path) -> None:
    shuffled = Omni(ShuffledTime(omni.bundle, omni.model.backend))
    tokens = omni.model.dims.tokens
    with open_set(small) as asked:
        watch = next(item for item in asked if item.skill == "watch")
        prompt = laid_out(omni, watch.messages)
        dealt_prompt = laid_out(shuffled, watch.messages)
        again = laid_out(shuffled, watch.messages).positions
        write_clip(tmp_path / "other.mp4", 25, 10, sound=2.5, turn=180)
        *before, last_message = watch.messages
        film = {"type": "video", "video": str(tmp_path / "other.mp4")}
        parts = [film, *last_message["content"][1:]]
        other = laid_out(shuffled, [*before, {"role": "user", "content": parts}])
    ids, plain, dealt = prompt.input_ids, prompt.positions, dealt_prompt.positions
    last = int(np.flatnonzero(ids == tokens.vision_eos)[-1])
    clip = np.isin(ids, (tokens.audio, tokens.video)) & (np.arange(ids.size) < last)
    assert clip.sum() > 50 and (ids[last:] == tokens.audio).sum() > 5  # the sound beside it
    assert prompt.delta == dealt_prompt.delta
    np.testing.assert_array_equal(plain[1:], dealt[1:])
    np.testing.assert_array_equal(plain[:, ~clip], dealt[:, ~clip])
    np.testing.assert_array_equal(np.sort(plain[0, clip]), np.sort(dealt[0, clip]))
    assert (plain[0, clip] != dealt[0, clip]).mean() > 0.5
    np.testing.assert_array_equal(again, dealt)
    # another clip of the same length has its own order
    np.testing.assert_array_equal(other.input_ids, prompt.input_ids)
    assert not np.array_equal(dealt, other.positions)


def test_each_stage_is_as_long_as_what_it_is_made_from(omni: Omni, small: Path) -> None:
    with open_set(small) as asked:
        spoken = next(item for item in asked if item.skill == "speak")
        sounds = {name: (sound, rate) for name, (sound, rate) in
                  _stages(omni, spoken, greedy=True).items()}  # fmt: skip
    original, vocoded, synthesized, reply = (sounds[name] for name in STAGES)
    assert original[1] == 16_000 and original[0].size == 16_000 * ORIGINAL_SECONDS
    assert vocoded[1] == 24_000 and vocoded[0].size == 24_000 * ORIGINAL_SECONDS // 480 * 480
    assert synthesized[1] == 24_000 and synthesized[0].size == 480 * len(CODES)
    assert reply[1] == 24_000 and reply[0].size % 480 == 0
    for sound, _ in sounds.values():
        assert np.isfinite(sound).all() and (not sound.size or sound.std() > 1e-4)


def test_speech_in_parts_is_what_generate_makes(omni: Omni) -> None:
    reply = omni.generate(
        [{"role": "user", "content": "Hi"}], voice="Ethan", seed=4, max_text_tokens=6, max_codes=12
    )
    mel = omni.mel_of(reply.codes, voice="Ethan", seed=4)
    np.testing.assert_array_equal(mel, reply.mel)
    np.testing.assert_array_equal(omni.wave_of(mel), reply.audio)
    np.testing.assert_array_equal(omni.wave_of(np.asfortranarray(mel)), reply.audio)


def spoken_by(voice: str) -> dict[str, Any]:
    return {**items()[4], "voice": voice}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ([spoken_by("Nobody")], "no voice is called 'Nobody'"),
        ([{**items()[0], "turns": []}], "line 11: turns is not a list of one or more turns"),
        ([{**items()[0], "turns": [{"parts": [], "answer": "one"}]}], "no part in turn 1"),
        ([{**items()[0], "turns": [{"parts": NO_MEDIA, "answer": " "}]}], "without words"),
        ([{**items()[4], "codes": []}], "codes is not a list of whole numbers from 0"),
        ([{**items()[4], "codes": [1, -1]}], "codes is not a list of whole numbers from 0"),
        ([{"skill": "speak"}], "no 'turns'; no 'unseen'; no 'voice'; no 'original'; no 'codes'"),
        (
            [{"skill": "hear"}, {"turns": 3}],
            "line 12: no 'skill'; no 'unseen'; turns is not a list",
        ),
    ],
)
def test_faulty_items_are_refused_before_any_question(
    nano: tuple[Path, Path],
    tmp_path: Path,
    capsys: Capture,
    changed: list[dict[str, Any]],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Omni, "generate", lambda *a, **b: pytest.fail("asked"))
    path = write_set(tmp_path, *changed)
    assert said in refused(capsys, "eval", nano[1], "--set", path)


def test_a_skill_that_the_set_lacks(
    nano: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "x.zip"
    turns = [{"parts": NO_MEDIA, "answer": "one"}]
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(LINES, json.dumps({"skill": "converse", "turns": turns, "unseen": False}))
    said = refused(capsys, "eval", nano[1], "--set", path, "--skill", "watch")
    assert "--skill converse" in said and "watch" in said


def test_no_damage_to_the_archive_ends_in_a_traceback(tmp_path: Path) -> None:
    whole = write_set(tmp_path).read_bytes()
    stop = whole.index(b"watch/0.mp4")  # items.jsonl is stored last, so both ends are damaged
    path, draws = tmp_path / "damaged.zip", Random(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(3):
            at = draws.choice((draws.randrange(stop), -1 - draws.randrange(2000)))
            damaged[at] = draws.randrange(256)
        path.write_bytes(damaged)
        try:
            with open_set(path):
                pass
        except omnijet.OmnijetError:
            pass


def test_a_sound_that_is_none(
    nano: tuple[Path, Path], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = type("Reply", (), {"audio": np.empty(0, np.float32), "sample_rate_hz": 24_000})
    monkeypatch.setattr(Omni, "generate", lambda *a, **b: silent)
    path = write_set(tmp_path, {**items()[4], "original": "see/0.png"})
    said = refused(capsys, "eval", nano[1], "--set", path, "--skill", "speak")
    assert "sound" in said


def test_one_sound_is_heard_alike_whatever_came_before() -> None:
    rng = np.random.default_rng(1)
    sounds = [rng.standard_normal(9000).astype(np.float32) * level for level in (0.3, 0.01, 0.1)]
    recogniser = Recogniser()
    there = [recogniser.words(sound, 24_000) for sound in sounds]
    back = [recogniser.words(sound, 24_000) for sound in sounds[::-1]][::-1]
    assert there == back
