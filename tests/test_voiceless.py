"""A bundle without a voice: what it answers, what it refuses, and that every verb knows it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from omnijet import cli
from omnijet.export import stages
from omnijet.export.checkpoint.tensor_layout import SPEAKING
from omnijet.runtime.bundle.contract import SPEECH_GRAPHS
from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.omni import Omni
from tests.command import Capture, answer, refused
from tests.traces import sharing_tracer

MEDIA = Path(__file__).parent / "media"
NO_VOICE = "this bundle has no voice"
QUESTION = [{"role": "user", "content": "What is two plus three?"}]


@pytest.fixture
def silent(voiceless: Path) -> Iterator[Omni]:
    with Omni.open(voiceless) as opened:
        yield opened


def test_it_holds_what_the_whole_bundle_does_without_speech(
    trained: tuple[Path, Path], voiceless: Path
) -> None:
    whole, less = Manifest.read(trained[1]), Manifest.read(voiceless)
    assert set(whole.graphs) - set(less.graphs) == set(SPEECH_GRAPHS)
    assert less.graphs == {name: whole.graphs[name] for name in less.graphs}
    gone = set(whole.tables) - set(less.tables)
    assert gone == set(whole.tables) - {"thinker_embedding"}
    assert less.voices == {} and less.dims.tokens == whole.dims.tokens
    assert less.files.items() <= whole.files.items()
    sizes = [sum(entry.bytes for entry in one.files.values()) for one in (whole, less)]
    assert sizes[1] < 0.6 * sizes[0]


@pytest.mark.parametrize(
    "question",
    [
        ("--text", "What is two plus three?"),
        ("--image", MEDIA / "drawing.png", "--text", "What is it?"),
        ("--audio", MEDIA / "question.wav"),
        ("--video", MEDIA / "clip.mp4"),
    ],
    ids=["text", "image", "audio", "video"],
)
def test_its_words_are_those_of_the_whole_bundle(
    trained: tuple[Path, Path], voiceless: Path, capsys: Capture, question: tuple[str | Path, ...]
) -> None:
    whole = answer(capsys, trained[1], *question, "--no-speech")
    less = answer(capsys, voiceless, *question)
    assert less["text_ids"] == whole["text_ids"] and less["text"] == whole["text"]
    assert less["codes"] == [] and less["voice"] is None and less["samples"] == 0


def test_it_says_once_that_it_has_no_voice(voiceless: Path, capsys: Capture) -> None:
    asked = ["run", str(voiceless), "--text", "What is two plus three?"]
    for stream in ([], ["--stream"], ["--stream", "--preset", "fast"]):
        assert cli.main([*asked, *stream]) == 0
        said = capsys.readouterr()
        assert said.err.count(NO_VOICE) == 1 and said.out.strip()
    assert cli.main([*asked, "--no-speech"]) == 0
    assert NO_VOICE not in capsys.readouterr().err


@pytest.mark.parametrize("wish", ["--out", "--pcm", "--voice"])
def test_sound_is_refused(voiceless: Path, tmp_path: Path, capsys: Capture, wish: str) -> None:
    value = "Chelsie" if wish == "--voice" else tmp_path / "sound"
    stream = ["--stream"] if wish == "--pcm" else []
    message = refused(capsys, "run", voiceless, "--text", "Hi", wish, value, *stream)
    assert NO_VOICE in message and wish in message and "--no-speech" in message
    assert list(tmp_path.iterdir()) == []


def test_python(silent: Omni) -> None:
    silent.load()
    reply = silent.generate(QUESTION)
    assert reply.voice is None and reply.audio.size == 0 and reply.text
    assert silent.generate(QUESTION, speech=False).text_ids == reply.text_ids
    with silent.stream(QUESTION, preset="fast") as events:
        assert len(list(events)) > 0
        assert events.reply.text_ids == reply.text_ids and events.reply.audio.size == 0
    assert silent.generate(QUESTION, speech=False, voice="Chelsie").text_ids == reply.text_ids
    for wish in ({"speech": True}, {"voice": "Chelsie"}):
        with pytest.raises(OmnijetError, match=NO_VOICE):
            silent.generate(QUESTION, **wish)
        with pytest.raises(OmnijetError, match=NO_VOICE):
            silent.stream(QUESTION, **wish)
    with pytest.raises(OmnijetError, match=NO_VOICE):
        silent.load(speech=True)
    with pytest.raises(OmnijetError, match=NO_VOICE):
        silent.mel_of([1, 2])
    with pytest.raises(OmnijetError, match=NO_VOICE):
        silent.wave_of(np.zeros((80, 4), np.float32))


def test_a_session_keeps_no_rows_for_a_talker(trained: tuple[Path, Path], silent: Omni) -> None:
    turns = ["What is two plus three?", "And four plus one?"]
    with Omni.open(trained[1]) as whole, whole.session() as spoken, silent.session() as session:
        for content in turns:
            wanted = spoken.generate(content, speech=False)
            assert session.generate(content).text_ids == wanted.text_ids
        with pytest.raises(OmnijetError, match=NO_VOICE):
            session.stream("Hi", speech=True)
        assert len(session.messages) == 4
        assert session.memory.rows is None and spoken.memory.rows is not None
        for one in (spoken, session):
            one.feed_audio(np.zeros(48_000, np.float32))
        heard = spoken.generate("What?", speech=False)
        assert session.generate("What?").text_ids == heard.text_ids
        twin = session.fork()
        with session.stream(turns[0]) as events:
            list(events)
        assert twin.generate(turns[0]).text_ids == events.reply.text_ids


def test_every_verb_knows_it(voiceless: Path, tmp_path: Path, capsys: Capture) -> None:
    def said(*command: str | Path) -> str:
        assert cli.main([str(part) for part in command]) == 0
        return capsys.readouterr().out

    assert "PASSED" in said("check", voiceless)
    assert NO_VOICE in said("inspect", voiceless)
    facts = json.loads(said("inspect", voiceless, "--format", "json"))
    assert len(facts["graphs"]) == 3 and facts["voices"] == []
    timed = json.loads(said("bench", voiceless, "--runs", "1", "--format", "json"))
    assert set(timed["steps"]) == {"thinker_decode"} and timed["real_time_factor"] is None
    once = ("--scenario", "text", "--runs", "1", "--warmup", "0")
    assert "text: no speech" in said("profile", voiceless, *once, "--out", tmp_path / "profile")
    profile = json.loads((tmp_path / "profile" / "profile.json").read_text())
    assert not profile["scenarios"]["text"]["ended_early"]
    plan = said("build", voiceless, "--target", "orin-nx-jp62", "--dry-run", "--format", "json")
    assert [one["graph"] for one in json.loads(plan)["graphs"]] == list(facts["graphs"])
    assert "talker_step" not in said("quantize", voiceless, "--layers")


@pytest.mark.parametrize("wish", [("--recipe", "cpu-int8"), ("--budget", "bytes=3MB")])
def test_it_is_quantized_and_compared(
    voiceless: Path, tmp_path: Path, capsys: Capture, wish: tuple[str, str]
) -> None:
    out, few = tmp_path / "small", ("--items", "2", "--max-text-tokens", "8")
    assert cli.main(["quantize", str(voiceless), str(out), *wish, *few]) == 0
    assert cli.main(["run", str(out), "--text", "What is two plus three?"]) == 0
    capsys.readouterr()
    compare = ["check", str(out), "--fidelity", "--items", "1", "--steps", "8"]
    assert cli.main([*compare, "--html", str(tmp_path / "page.html"), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] and found["talker"] is None and found["codes"] == 0
    assert found["stability"] == {"steps": 8, "broke": None}
    assert {bound["graph"] for bound in found["speed_bounds"]} == {"thinker_step"}
    assert "Thinker, finite" in (tmp_path / "page.html").read_text()


def test_understanding_is_scored(voiceless: Path, capsys: Capture) -> None:
    assert cli.main(["eval", str(voiceless), "--items", "1", "--format", "json"]) == 0
    said = capsys.readouterr()
    assert "speaking is not scored" in said.err
    names = [score["name"] for score in json.loads(said.out)["scores"]]
    assert "see" in names and not any(name.startswith("speak") for name in names)
    assert NO_VOICE in refused(capsys, "eval", voiceless, "--skill", "speak", "--items", "1")


@pytest.mark.parametrize("by", ["option", "configuration"])
def test_nothing_that_speaks_is_needed(
    shallow: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    caplog: pytest.LogCaptureFixture,
    by: str,
) -> None:
    checkpoint, bundle = tmp_path / "checkpoint", tmp_path / "bundle"
    shutil.copytree(shallow, checkpoint)
    (checkpoint / "spk_dict.pt").unlink()
    for path in checkpoint.glob("*.safetensors"):
        kept = {key: value for key, value in load_file(path).items() if _thinks(key)}
        save_file(kept, path)
    index = checkpoint / "model.safetensors.index.json"
    if index.is_file():
        data = json.loads(index.read_text())
        data["weight_map"] = {k: name for k, name in data["weight_map"].items() if _thinks(k)}
        index.write_text(json.dumps(data))
    config = json.loads((checkpoint / "config.json").read_text())
    if by == "configuration":
        config["enable_audio_output"] = False
    else:
        config.pop("token2wav_config")
        config["talker_config"] = {"hidden_act": "unknown"}
    (checkpoint / "config.json").write_text(json.dumps(config))
    store = tmp_path_factory.getbasetemp() / "shallow-traces"
    monkeypatch.setattr(stages, "traced_graphs", sharing_tracer(store))
    option = ["--no-speech"] if by == "option" else []
    assert cli.main(["export", str(checkpoint), str(bundle), *option]) == 0
    assert "3 graphs" in capsys.readouterr().out
    warned = [record for record in caplog.records if "enable_audio_output" in record.message]
    assert len(warned) == (by == "configuration")
    assert cli.main(["check", str(bundle)]) == 0


def _thinks(key: str) -> bool:
    return not key.startswith(SPEAKING)
