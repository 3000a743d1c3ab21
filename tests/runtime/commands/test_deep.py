"""`omnijet check --deep` runs each graph once, whatever the graph does then."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from omnijet import cli
from omnijet.runtime.bundle.contract import TensorSpec
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.commands import trials
from omnijet.runtime.commands.graph_trial import facts, fill, trial
from omnijet.runtime.commands.outputs_file import differences, read_outputs, write_outputs
from omnijet.runtime.commands.trials import Trials, output_faults
from omnijet.runtime.errors import OmnijetError
from tests.command import Capture, refused


@pytest.mark.parametrize("name", ["audio_encoder", "vision_encoder", "thinker_step", "talker_step",
                                  "dit_step", "vocoder"])  # fmt: skip
def test_every_graph_runs(nano: tuple[Path, Path], name: str) -> None:
    found = trial(Bundle.open(nano[1]), name)
    assert output_faults(found["zeros"]) == output_faults(found["pattern"]) == []
    assert all(np.ptp(output["values"]) > 0 for output in found["pattern"].values())
    assert (
        trial(Bundle.open(nano[1]), name, provider="cpu")["zeros"].keys() == found["zeros"].keys()
    )


@pytest.mark.parametrize(("program", "said"), [
    ("import time; time.sleep(60)", "did not end within 0.5 s (--deep-seconds"),
    ("import os; os.abort()", "ended its process by SIGABRT"),
    ("import os; os.kill(os.getpid(), 9)", "memory has probably run out"),
    ("raise SystemExit(3)", "exit code 3"),
    ("print('{}x')", "exit code 0"),
    ("print('[]')", "exit code 0"),
])  # fmt: skip
def test_a_graph_that_ends_its_process(
    nano: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    program: str,
    said: str,
) -> None:
    (tmp_path / "child.py").write_text(program)
    monkeypatch.setattr(trials, "CHILD", tmp_path / "child.py")
    bundle = Bundle.open(nano[1])
    only = {"vocoder": bundle.manifest.graphs["vocoder"]}
    monkeypatch.setattr(Trials, "_names", lambda self, bundle: list(only))
    limit = 0.5 if "sleep" in program else 60
    (fault,), found = Trials(seconds=limit).run(bundle)
    assert fault.startswith("graphs/vocoder.onnx: ") and said in fault and not found


def test_a_module_of_the_current_folder_is_not_run(
    nano: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "numpy", "onnxruntime", "omnijet"):
        (tmp_path / f"{name}.py").write_text(f"open('{name} ran', 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Trials, "_names", lambda self, bundle: ["vocoder"])
    faults, found = Trials().run(Bundle.open(nano[1]))
    assert not faults and found and not list(tmp_path.glob("* ran"))


def test_wrong_outputs_are_faults() -> None:
    spec = TensorSpec("logits", "f32", (1, "rows"))
    sizes = {"rows": 3}
    right = facts(spec, np.zeros((1, 3), np.float32), sizes)
    assert output_faults({"logits": right}) == []
    shape = facts(spec, np.zeros((1, 2), np.float32), sizes)
    kind = facts(spec, np.zeros((1, 3), np.float16), sizes)
    odd = facts(spec, np.array([[0, np.nan, np.inf]], np.float32), sizes)
    assert output_faults({"logits": shape}) == ["logits is f32[1, 2], not f32[1, 3]"]
    assert output_faults({"logits": kind}) == ["logits is f16[1, 3], not f32[1, 3]"]
    assert output_faults({"logits": odd}) == ["logits has 2 NaN or infinite values, from zeros"]


def test_masks_allow_one_row_of_a_cache() -> None:
    mask = np.zeros((1, 1, 1, 5), bool)
    fill(TensorSpec("mask", "bool", (1, 1, "rows", "capacity")), mask, False)
    assert mask.tolist() == [[[[True, False, False, False, False]]]]


def test_recorded_and_compared(nano: tuple[Path, Path], tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "outputs.json"
    check = ["check", str(nano[1]), "--deep"]
    assert cli.main([*check, "--record", str(path)]) == 0
    assert cli.main([*check, "--compare", str(path), "--provider", "cpu"]) == 0
    data = json.loads(path.read_text())
    data["graphs"]["vocoder"]["wave"][3] += 1
    path.write_text(json.dumps(data))
    capsys.readouterr()
    assert cli.main([*check, "--compare", str(path)]) == 2
    assert "FAILED vocoder: wave differs by" in capsys.readouterr().out


def test_what_did_not_run_is_no_match(nano: tuple[Path, Path], tmp_path: Path) -> None:
    bundle, path = Bundle.open(nano[1]), tmp_path / "outputs.json"
    found = {"vocoder": {"wave": {"values": [1.0, 2.0]}}}
    write_outputs(path, bundle, found)
    assert differences(read_outputs(path), found, bundle) == []
    assert "did not run here" in differences(read_outputs(path), {}, bundle)[0]
    shorter = {"vocoder": {"wave": {"values": []}}}
    assert "0 values, not 2" in differences(read_outputs(path), shorter, bundle)[0]


@pytest.mark.parametrize("content", [
    "", "[]", '{"format": "x"}', '{"format": "omnijet-outputs-1", "graphs": {"a": 1}}',
    '{"format": "omnijet-outputs-1", "graphs": {"a": {"b": ["x"]}}}',
])  # fmt: skip
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "file").write_text(content)
    with pytest.raises(OmnijetError, match="recorded outputs cannot be read"):
        read_outputs(tmp_path / "file")


def test_options_need_deep(nano: tuple[Path, Path], tmp_path: Path, capsys: Capture) -> None:
    for options in (("--record", tmp_path / "x"), ("--deep-seconds", "3")):
        assert "add --deep" in refused(capsys, "check", nano[1], *options)
