"""`omnijet check --fidelity`: a bundle against itself, against damaged copies, and mistakes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omnijet import cli
from omnijet.quantization import check_command
from omnijet.quantization.fidelity import following
from omnijet.quantization.fidelity import measure as fidelity
from omnijet.quantization.fidelity.distances import EQUAL_DB
from omnijet.quantization.fidelity.float_bundle import float_bundle
from omnijet.quantization.fidelity.following import Recorder, feed, speak, write
from omnijet.quantization.fidelity.gate import METRICS, default_gate, judge
from omnijet.quantization.fidelity.measure import Fidelity, measure
from omnijet.quantization.fidelity.report import html, to_json
from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.manifest import FILE_NAME, hash_file
from omnijet.runtime.omni import Omni
from omnijet.runtime.talk.model import Model
from tests.command import Capture, refused
from tests.manifests import write_sealed

LAYERS = {
    "thinker_step": {
        "decoder.layers.0.qkv.weight": {
            "scheme": "int4 weights", "snr_db": 21.5, "bytes": 10, "float_bytes": 80,
        },
        "head.weight": {"scheme": "int8 weights", "snr_db": 12.25, "bytes": 20, "float_bytes": 80},
    }
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def short_work() -> Iterator[None]:
    """Limits replies to a few codes: they measure the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(following, "MAX_CODES", 12)
        patch.setattr(fidelity, "SOUNDS", 1)
        patch.setattr(fidelity, "exact_backend", lambda: OrtBackend(threads=1))
        yield


@pytest.fixture(scope="module")
def twin(
    trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Makes copies of the bundle with changed weights of a graph."""

    def make(name: str, graph: str, change: Callable[[np.ndarray], np.ndarray]) -> Path:
        source = trained[1]
        copy = tmp_path_factory.mktemp("twin") / name
        shutil.copytree(source, copy, copy_function=shutil.copyfile)
        data = json.loads((copy / FILE_NAME).read_text())
        file = copy / data["graphs"][graph]["weights"]
        change(np.fromfile(file, np.float32)).astype(np.float32).tofile(file)
        data["files"][data["graphs"][graph]["weights"]]["sha256"] = hash_file(file).sha256
        data["quantization"] = {
            "recipe": "test",
            "source": str(source.absolute()),
            "source_manifest_sha256": hash_file(source / FILE_NAME).sha256,
            "layers": LAYERS,
        }
        write_sealed(copy, data)
        return copy

    return make


@pytest.fixture(scope="module")
def noisy(twin: Callable[..., Path]) -> Path:
    """A copy with random noise as large as the Thinker's weights."""
    rng = np.random.default_rng(0)
    return twin("noisy", "thinker_step", lambda w: w * (1 + rng.standard_normal(w.shape)))


def checked(capsys: Capture, bundle: Path, *options: str | Path) -> tuple[int, dict[str, Any]]:
    few = ("--items", "1", "--steps", "5")
    command = ["check", bundle, "--fidelity", "--format", "json", *few, *options]
    code = cli.main([str(part) for part in command])
    return code, json.loads(capsys.readouterr().out)


def measured(reference: Path, quantized: Path) -> Fidelity:
    """Returns the JSON of a measurement on one short question."""
    question = [{"role": "user", "content": "What do you see?"}]
    return measure(Bundle.open(reference), Bundle.open(quantized), [question], steps=2)


def kinds(value: Any) -> Any:
    """Returns the layout of a JSON value: keys and types; of a list, the first element's."""
    if isinstance(value, dict):
        return {key: kinds(item) for key, item in value.items()}
    if isinstance(value, list):
        return [kinds(value[0])] if value else []
    return type(value).__name__


SCHEMA = {
    "format": "str", "version": "int", "bundle": "str", "float_bundle": "str", "recipe": "str",
    "precision": "str", "float_precision": "str", "conversations": "int", "text_tokens": "int",
    "codes": "int",
    "layers": [{"graph": "str", "layer": "str", "scheme": "str", "snr_db": "float",
                "bytes": "int", "float_bytes": "int"}],
    "thinker": {"steps": "int", "not_finite": "int", "top1": "float", "kl_mean": "float",
                "kl_p99": "float", "kl_most": "float", "float_perplexity": "float",
                "perplexity": "float"},
    "talker": {"steps": "int", "not_finite": "int", "top1": "float", "kl_mean": "float",
               "kl_p99": "float", "kl_most": "float", "float_perplexity": "float",
               "perplexity": "float"},
    "snr_db": {"hearing": "float", "sight": "float", "mel": "float", "pcm": "float"},
    "stability": {"steps": "int", "broke": "NoneType"},
    "weights": [{"graph": "str", "float_bytes": "int", "bytes": "int"}],
    "speed_bounds": [{"target": "str", "graph": "str", "float_bytes": "int", "bytes": "int",
                      "float_steps_per_s": "float", "steps_per_s": "float"}],
    "scores": [],
    "not_finite": [],
    "gate": [{"metric": "str", "meaning": "str", "bound": "str", "value": "float",
              "tolerance": "float", "passed": "bool"}],
    "faults": ["str"],
    "ok": "bool",
}  # fmt: skip


def test_a_bundle_beside_itself_is_equal_in_everything(
    trained: tuple[Path, Path], capsys: Capture
) -> None:
    code, facts = checked(capsys, trained[1], "--float", trained[1])
    assert code == 0 and facts["ok"] and not facts["faults"]
    for part in ("thinker", "talker"):
        found = facts[part]
        assert found["top1"] == 1.0 and found["kl_most"] == 0.0 and found["not_finite"] == 0
        assert found["perplexity"] == found["float_perplexity"]
    assert facts["snr_db"] == dict.fromkeys(("hearing", "sight", "mel", "pcm"), EQUAL_DB)
    assert facts["conversations"] == 5 and facts["stability"] == {"steps": 5, "broke": None}
    assert facts["codes"] == 5 * 11  # the last draw is dropped
    assert facts["talker"]["steps"] == 5 * 12
    assert facts["layers"] == [] and facts["recipe"] == "none"


def test_a_damaged_thinker_fails_the_gate(noisy: Path, tmp_path: Path, capsys: Capture) -> None:
    page = tmp_path / "page.html"
    code, facts = checked(capsys, noisy, "--html", page)
    assert code == 1 and not facts["ok"]
    assert kinds(facts) == SCHEMA
    failed = {one["metric"] for one in facts["gate"] if one["passed"] is False}
    assert {"thinker_top1", "thinker_kl"} <= failed and not failed & {"talker_kl", "mel_snr_db"}
    # the Talker reads the float Thinker's rows, so its figures stay perfect
    assert facts["talker"]["top1"] == 1.0 and facts["talker"]["kl_most"] == 0.0
    assert facts["snr_db"]["hearing"] == EQUAL_DB and facts["snr_db"]["mel"] == EQUAL_DB
    assert facts["thinker"]["float_perplexity"] < 1.1 < facts["thinker"]["perplexity"] / 2
    assert [layer["layer"] for layer in facts["layers"]] == [
        "head.weight", "decoder.layers.0.qkv.weight",
    ]  # fmt: skip
    alone = Tags()
    alone.feed(page.read_text())
    assert alone.open == [] and alone.seen.count("svg") == 2  # layers, weights
    assert not {"script", "link", "img", "iframe"} & set(alone.seen)
    assert "http" not in page.read_text() and "FAILED" in page.read_text()
    assert "12.2 dB" in page.read_text() and "21.5 dB" in page.read_text()


class Tags(HTMLParser):
    """Collects opened tags and checks that each is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_gate_file_decides(
    noisy: Path,
    trained: tuple[Path, Path],
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = measured(trained[1], noisy)
    monkeypatch.setattr(check_command, "_measured", lambda *a: found)
    gate = tmp_path / "gate.json"
    gate.write_text(json.dumps({metric.name: None for metric in METRICS}))
    command = ["check", str(noisy), "--fidelity"]
    assert cli.main(command) == 1
    assert "FAILED thinker_kl: " in capsys.readouterr().out
    assert cli.main([*command, "--gate", str(gate)]) == 0
    table = capsys.readouterr().out
    assert table.rstrip().endswith("PASSED") and "upper bounds of decoding speed" in table
    assert "12.2" in table and "head.weight" in table and "AGX Thor" in table


def test_logits_that_are_no_numbers_are_a_verdict(
    twin: Callable[..., Path], trained: tuple[Path, Path]
) -> None:
    def poisoned(weights: np.ndarray) -> np.ndarray:
        weights[: weights.size // 2] = np.nan
        return weights

    found = measured(trained[1], twin("nan", "talker_step", poisoned))
    facts = json.loads(json.dumps(to_json(found, judge(found, default_gate())), allow_nan=False))
    assert facts["talker"]["not_finite"] == facts["talker"]["steps"] == 12
    assert facts["talker"]["top1"] is None and facts["stability"]["broke"] == "talker"
    assert facts["thinker"]["top1"] == 1.0
    assert not facts["ok"] and facts["faults"][:2] == [
        "not finite: talker: logits at 12 of 12 steps",
        "not finite: talker: logits after 0 steps together",
    ]


def test_sound_that_is_no_number_is_a_verdict(
    twin: Callable[..., Path], trained: tuple[Path, Path]
) -> None:
    found = measured(trained[1], twin("mute", "dit_step", lambda w: w * np.nan))
    assert found.not_finite == ["mel", "pcm"]
    page = html(found, judge(found, default_gate()))
    assert "not finite" in page and ">nan" not in page


def test_a_float_bundle_that_is_broken_itself_is_a_verdict_too(
    twin: Callable[..., Path], trained: tuple[Path, Path]
) -> None:
    broken = twin("nan", "thinker_step", lambda w: w * np.nan)
    found = measured(broken, trained[1])
    assert found.not_finite == [
        f"thinker: logits at {found.text_tokens} of {found.text_tokens} steps",
        "talker: logits at 12 of 12 steps",
    ]


def test_the_dit_and_the_vocoder_are_heard(
    twin: Callable[..., Path], trained: tuple[Path, Path]
) -> None:
    rng = np.random.default_rng(0)
    louder = twin("dit", "dit_step", lambda w: w * (1 + 0.1 * rng.standard_normal(w.shape)))
    found = measured(trained[1], louder)
    assert found.snr_db.mel is not None and found.snr_db.pcm is not None
    assert 5 < found.snr_db.mel < 40 and found.snr_db.pcm < found.snr_db.mel
    assert found.snr_db.hearing is None  # the question has no sound
    assert found.thinker is not None and found.thinker.kl_most == 0.0


def test_conversations_of_ones_own(
    trained: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    data = tmp_path / "mine.jsonl"
    asked = [[{"role": "user", "content": text}] for text in ("What do you see?", "Which colour?")]
    data.write_text("".join(json.dumps(messages) + "\n" for messages in asked))
    command = ["check", trained[1], "--fidelity", "--float", trained[1], "--data", data]
    assert cli.main([*map(str, command), "--steps", "2", "--format", "json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["conversations"] == 2 and facts["snr_db"]["sight"] is None
    assert [one["passed"] for one in facts["gate"] if one["metric"] == "sight_snr_db"] == [None]
    said = refused(capsys, *command[:-1], tmp_path / "none.jsonl")
    assert "none.jsonl" in said


# -- teacher forcing ------------------------------------------------------------------------


def test_forced_tokens_meet_the_logits_that_chose_them(trained: tuple[Path, Path]) -> None:
    """The reply equals the pipeline's, and forcing it changes nothing."""
    omni = Omni(Model(Bundle.open(trained[1]), OrtBackend(threads=1)))
    messages = [{"role": "user", "content": "What do you see?"}]
    fed = feed(omni, messages)
    written = write(omni, fed)
    spoken = speak(omni, fed, written, "Ethan")
    assert spoken is not None
    reply = omni.generate(messages, seed=following.SEED, voice="Ethan", max_codes=12)
    assert written.tokens == reply.text_ids and spoken.codes == reply.codes
    again = write(omni, fed, written.tokens)
    np.testing.assert_array_equal(again.logits, written.logits)
    np.testing.assert_array_equal(again.prompt_rows, written.prompt_rows)
    followed = speak(omni, fed, written, "Ethan", spoken.drawn)
    assert followed is not None and followed.codes == spoken.codes
    np.testing.assert_array_equal(followed.logits, spoken.logits)


def test_a_recorder_keeps_what_it_is_shown() -> None:
    logits = np.array([0.0, 2.0, 1.0], np.float32)
    recorder = Recorder.forced([2, 0])
    assert [recorder(logits), recorder(logits * 2)] == [2, 0]
    logits[:] = 9
    np.testing.assert_array_equal(recorder.stacked(), [[0, 2, 1], [0, 4, 2]])


# -- mistakes -------------------------------------------------------------------------------


def test_other_dimensions_are_named(noisy: Path, nano: tuple[Path, Path], capsys: Capture) -> None:
    said = refused(capsys, "check", noisy, "--fidelity", "--float", nano[1])
    assert "different models" in said and "dims.thinker.layers: " in said and "--float" in said


def test_a_float_bundle_that_is_gone_or_changed(
    noisy: Path, tmp_path: Path, trained: tuple[Path, Path], capsys: Capture
) -> None:
    data = json.loads((noisy / FILE_NAME).read_text())
    copy = tmp_path / "copy"
    shutil.copytree(noisy, copy, copy_function=shutil.copyfile)

    def tell(**changed: Any) -> str:
        facts = {**data["quantization"], **changed}
        write_sealed(copy, {**data, "quantization": facts})
        return refused(capsys, "check", copy, "--fidelity")

    said = tell(source=str(tmp_path / "gone"))
    assert "is not there" in said and "gone" in said and "--float BUNDLE" in said
    said = tell(source_manifest_sha256="0" * 64)
    assert "has changed" in said and "--float BUNDLE" in said
    built = tmp_path / "built"
    shutil.copytree(trained[1], built, copy_function=shutil.copyfile)
    assert cli.main(["build", str(built), "--target", "cpu", "--no-check"]) == 0
    capsys.readouterr()
    say_source = {**data["quantization"], "source": str(built)}
    write_sealed(copy, {**data, "quantization": say_source})
    assert float_bundle(Bundle.open(copy), None).manifest.engines  # the same model
    said = tell(layers={"thinker_step": {"head.weight": {"scheme": "x"}}})
    assert "layers" in said and "snr_db" in said
    said = refused(capsys, "check", trained[1], "--fidelity")
    assert "not quantized" in said and "--float BUNDLE" in said


def test_a_packed_checkpoint_says_nothing_of_its_layers(noisy: Path) -> None:
    bundle = Bundle.open(noisy)
    assert len(fidelity._layers(bundle)) == 2
    facts = {"recipe": "awq checkpoint", "layers": {"thinker_step": 21}}
    packed = replace(bundle, manifest=replace(bundle.manifest, quantization=facts))
    assert fidelity._layers(packed) == ()


def test_a_damaged_file_is_told_before_any_work(
    noisy: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_command, "_measured", lambda *a: pytest.fail("measured"))
    copy = tmp_path / "copy"
    shutil.copytree(noisy, copy, copy_function=shutil.copyfile)
    file = copy / "graphs" / "thinker_step.weights"
    damaged = bytearray(file.read_bytes())
    damaged[100] ^= 1
    file.write_bytes(damaged)
    assert "thinker_step.weights" in refused(capsys, "check", copy, "--fidelity")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"thinker_kI": 0.1}', "unknown name 'thinker_kI'; did you mean 'thinker_kl'?"),
        ('{"talker_top1": "high", "mel_snr_db": true}', "mel_snr_db: expected a number or null"),
        ('{"talker_top1": NaN}', "NaN"),
        ("[1]", "expected an object"),
        ("{", "gate file cannot be read"),
        (None, "No such file"),
    ],
)
def test_gate_files_that_cannot_be_used(
    noisy: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    content: str | None,
    said: str,
) -> None:
    monkeypatch.setattr(check_command, "_measured", lambda *a: pytest.fail("measured"))
    gate = tmp_path / "gate.json"
    if content is not None:
        gate.write_text(content)
    assert said in refused(capsys, "check", noisy, "--fidelity", "--gate", gate)


def test_options_of_the_fidelity_check_need_it(noisy: Path, capsys: Capture) -> None:
    said = refused(capsys, "check", noisy, "--scores", "--items", "3")
    assert "--items, --scores" in said and "add --fidelity" in said
