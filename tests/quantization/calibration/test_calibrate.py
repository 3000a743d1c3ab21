"""Calibration is deterministic and resumable, and finds every fault before it runs."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from omnijet.quantization.calibration import calibrate as calibration
from omnijet.quantization.calibration import state as calibration_state
from omnijet.quantization.calibration.calibrate import calibrate
from omnijet.quantization.calibration.limits import Limits
from omnijet.quantization.graph_layers import layers_of
from omnijet.quantization.numerics.statistics import Statistics
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.talk.model import Model
from omnijet.runtime.talk.options import Options
from omnijet.runtime.talk.turn import Turn

MEDIA = Path(__file__).parents[2] / "media"
LIMITS = Limits(text_tokens=4, codes=9)
WANTED = {
    "audio_encoder": ["layer_norm"], "vision_encoder": ["patches"], "thinker_step": ["rms_norm"],
    "talker_step": ["embeds"], "dit_step": ["x", "layer_norm"],
}  # fmt: skip


@pytest.fixture(scope="module")
def bundle(nano: tuple[Path, Path]) -> Path:
    return nano[1]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "data.jsonl"
    write(path, asked("Hello"), asked("And?", image="drawing.png"), asked("Who?"),
          asked("What?", audio="question.wav"), asked("Where?"))  # fmt: skip
    return path


def asked(text: str, **media: str) -> Any:
    content = [{"type": kind, kind: str(MEDIA / name)} for kind, name in media.items()]
    return [{"role": "user", "content": [*content, {"type": "text", "text": text}]}]


def write(path: Path, *conversations: Any) -> None:
    path.write_text("\n".join(map(json.dumps, conversations)))


def measure(bundle: Path, data: Path, **options: Any) -> dict[tuple[str, str], Statistics]:
    options = {"seed": 3, "limits": LIMITS, "threads": 1, **options}
    return calibrate(bundle, options.pop("wanted", WANTED), data, **options)


def assert_same(one: dict[tuple[str, str], Statistics], two: Any) -> None:
    assert set(one) == set(two)
    for place, statistics in one.items():
        theirs = two[place].to_arrays()
        for name, array in statistics.to_arrays().items():
            np.testing.assert_array_equal(array, theirs[name], err_msg=f"{place} {name}")


@pytest.fixture(scope="module")
def whole(bundle: Path, data: Path) -> dict[tuple[str, str], Statistics]:
    return measure(bundle, data)


def test_everything_wanted_is_measured(whole: dict[tuple[str, str], Statistics]) -> None:
    assert set(whole) == {(graph, name) for graph, names in WANTED.items() for name in names}
    x, both = whole["dit_step", "x"], whole["dit_step", "layer_norm"]
    # at most 8 codes of 2 frames in 36 evaluations, five times; both branches
    assert 0 < x.count <= 5 * 36 * 16 and both.count == 2 * x.count
    assert whole["vision_encoder", "patches"].inputs == 1176


def test_little_memory_sees_the_same_on_the_first_conversations(
    bundle: Path, data: Path, tmp_path: Path
) -> None:
    write(tmp_path / "first.jsonl", asked("Hello"), asked("And?", image="drawing.png"))
    wanted = {"vision_encoder": ["patches"], "thinker_step": ["rms_norm"]}
    first = measure(bundle, tmp_path / "first.jsonl", wanted=wanted)
    limits = replace(LIMITS, conversations=2)
    little = measure(bundle, data, wanted=wanted, limits=limits, low_memory=True)
    for place, statistics in first.items():
        assert little[place].count == statistics.count, place
        np.testing.assert_allclose(little[place].absmax, statistics.absmax, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(little[place].sample, statistics.sample, rtol=1e-3, atol=1e-4)


def test_another_seed_draws_other_codes(
    bundle: Path, data: Path, whole: dict[tuple[str, str], Statistics]
) -> None:
    wanted = {"thinker_step": ["rms_norm"], "talker_step": ["embeds"]}
    other = measure(bundle, data, seed=4, wanted=wanted)
    mean = {seed: stats["talker_step", "embeds"].absmean for seed, stats in
            ((3, whole), (4, other))}  # fmt: skip
    assert not np.array_equal(mean[3], mean[4])
    # the Thinker draws no random numbers
    text = ("thinker_step", "rms_norm")
    np.testing.assert_array_equal(whole[text].absmax, other[text].absmax)


def test_a_cut_run_goes_on(
    bundle: Path,
    data: Path,
    whole: dict[tuple[str, str], Statistics],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calibration, "SAVED_EVERY", 2)
    state = tmp_path / "state.npz"

    def cut(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(bundle, data, state_path=state, progress=cut)
    told: list[tuple[int, int]] = []
    again = measure(bundle, data, state_path=state, progress=lambda *done: told.append(done))
    assert told == [(2, 5), (3, 5), (4, 5), (5, 5)]
    assert_same(again, whole)
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]

    told.clear()
    done = measure(bundle, data, state_path=state, progress=lambda *done: told.append(done))
    assert told == [(5, 5)]
    assert_same(done, whole)


@pytest.mark.parametrize(
    "changed",
    [{"seed": 4}, {"limits": Limits(3, 9)}, {"wanted": {"thinker_step": ["rms_norm_1"]}}, "data"],
)
def test_a_state_of_something_else_is_left(
    bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, changed: Any
) -> None:
    data, state = tmp_path / "data.jsonl", tmp_path / "state.npz"
    write(data, asked("Hello"))
    options: dict[str, Any] = {"wanted": {"thinker_step": ["rms_norm"]}, "state_path": state}
    measure(bundle, data, **options)
    if changed == "data":
        write(data, asked("Goodbye"))
    else:
        options |= changed
    told: list[tuple[int, int]] = []
    with caplog.at_level(logging.WARNING):
        measure(bundle, data, **options, progress=lambda *done: told.append(done))
    assert told == [(0, 1), (1, 1)]
    assert "another calibration" in caplog.text


@pytest.mark.parametrize("content", [b"", b"no state", "other"])
def test_a_file_that_is_no_state(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes | str
) -> None:
    path = tmp_path / "state.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, x=np.zeros(3))
    with caplog.at_level(logging.WARNING):
        assert calibration_state.CalibrationState.resume(path, "key").done == 0
    assert "starting from the beginning" in caplog.text


@pytest.mark.parametrize(
    ("graph", "speech", "tokens"),
    [("audio_encoder", False, 1), ("thinker_step", False, 4), ("dit_step", True, 4)],
)
def test_only_what_is_wanted_runs(
    bundle: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    graph: str,
    speech: bool,
    tokens: int,
) -> None:
    made: list[Options] = []

    def turn(model: Model, options: Options, *rest: Any, **more: Any) -> Turn:
        made.append(options)
        return plain(model, options, *rest, **more)

    plain = Turn.of
    monkeypatch.setattr(Turn, "of", turn)
    statistics = measure(bundle, data, wanted={graph: WANTED[graph], "talker_step": []})
    assert set(statistics) == {(graph, name) for name in WANTED[graph]}
    assert {options.speech for options in made} == {speech}
    assert {options.max_text_tokens for options in made} == {tokens}
    # every voice takes a turn, and no two conversations share draws
    assert [options.voice for options in made[:3]] == ["Chelsie", "Ethan", "Chelsie"]
    assert [options.seed for options in made] == [3, 4, 5, 6, 7]


def test_faults_are_found_before_the_work_begins(bundle: Path, tmp_path: Path) -> None:
    shutil.copy(MEDIA / "drawing.png", tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    (tmp_path / "c.wav").write_bytes(b"no sound")
    told: list[int] = []
    with pytest.raises(OmnijetError, match="2 of 3 conversations cannot be used") as caught:
        measure(bundle, tmp_path, progress=lambda done, total: told.append(done))
    got = str(caught.value.got)
    assert str(tmp_path / "b.png") in got and str(tmp_path / "c.wav") in got
    assert "a.png" not in got and not told


@pytest.mark.parametrize("graph", ["audio_encoder", "vision_encoder"])
def test_data_that_does_not_reach_a_graph(bundle: Path, tmp_path: Path, graph: str) -> None:
    write(tmp_path / "data.jsonl", asked("Hello"))
    with pytest.raises(OmnijetError, match=f"reaches {graph}"):
        measure(bundle, tmp_path / "data.jsonl", wanted={graph: WANTED[graph]})


def test_replies_too_short_to_be_spoken(bundle: Path, data: Path) -> None:
    with pytest.raises(OmnijetError, match="1 activations never occurred") as caught:
        measure(bundle, data, wanted={"talker_step": ["embeds"]}, limits=Limits(text_tokens=1))
    assert "talker_step: embeds" in str(caught.value)


def test_few_rows_wait_and_none_is_lost() -> None:
    rows = np.random.default_rng(0).standard_normal((200, 4)).astype(np.float32)
    measuring = calibration.Measuring({}, seed=1)
    for start, stop in ((0, 1), (1, 2), (2, 90), (90, 91), (91, 200)):
        measuring.see("g", "a", rows[start:stop])
    measuring.settle()
    direct = Statistics(4, 1)
    direct.update(rows)
    (measured,) = measuring.statistics.values()
    assert measured.count == 200 and not measuring.waiting
    np.testing.assert_array_equal(measured.sample, direct.sample)
    np.testing.assert_array_equal(measured.absmax, direct.absmax)


def test_every_layer_of_the_bundle_can_be_wanted(bundle: Path, tmp_path: Path) -> None:
    graph = "vision_encoder"
    layers = layers_of(ir.load(bundle / "graphs" / f"{graph}.onnx"), graph)
    write(tmp_path / "data.jsonl", asked("And?", image="drawing.png"))
    wanted = {graph: {layer.activation for layer in layers}}
    statistics = measure(bundle, tmp_path / "data.jsonl", wanted=wanted)
    assert all(statistics[graph, layer.activation].inputs == layer.inputs for layer in layers)
