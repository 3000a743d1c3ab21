"""What `omnijet build` made is compared with the bundle's references, where this machine can."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from omnijet import cli
from omnijet.engines.ort_builder import OrtBuilder
from omnijet.engines.targets.target import TARGETS
from omnijet.engines.trial import try_engines
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.manifest import Manifest
from tests.command import Capture
from tests.engines.fake_library import fake_interpreter

QUICK = ("audio_encoder", "vision_encoder")


@pytest.fixture
def bundle(nano: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(nano[1], tmp_path / "bundle"))


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_graphs_for_onnx_runtime_are_right(bundle: Path, target: str, capsys: Capture) -> None:
    """Those for a GPU run on the processor here."""
    assert cli.main(["build", str(bundle), "--target", target]) == 0
    said = capsys.readouterr().out
    assert said.count(" right ") == 6 and "onnxruntime-cpu, built graphs beside" in said
    assert cli.main(["build", str(bundle), "--target", target, "--format", "json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert all(one["state"] == "present" and one["kept"] for one in again.values())
    assert not any(one["compared"]["comparison"]["faults"] for one in again.values())


def test_a_graph_that_is_built_wrong_is_told(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    make = OrtBuilder.make

    def spoiled(self: OrtBuilder, manifest: object, scratch: Path, *rest: object) -> object:
        weights = scratch / "thinker_step.weights"
        content = np.fromfile(weights, np.float32)
        content[len(content) // 3 : len(content) // 2] *= np.float32(1.5)
        content.tofile(weights)
        return make(self, manifest, scratch, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(OrtBuilder, "make", spoiled)
    build = ["build", str(bundle), "--target", "cpu", "--graphs", "thinker_step"]
    assert cli.main(["check", str(bundle)]) == 0
    for again in ([], [], ["--force"]):
        assert cli.main([*build, *again]) == 1
        out, err = capsys.readouterr()
        assert "FAILED thinker_step: in the prompt, layer" in out and "from now on" not in out
        assert "not kept: thinker_step" in err
        manifest = Manifest.read(bundle)
        assert not manifest.engines and not list((bundle / "engines").rglob("thinker*"))
        assert cli.main(["check", str(bundle), "--provider", "cpu"]) == 0, "the bundle's own runs"
        capsys.readouterr()
    assert cli.main([*build, "--format", "json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["thinker_step"]["kept"] is False and "FAILED thinker_step" in err
    assert cli.main([*build, "--no-check"]) == 0
    assert "references" not in capsys.readouterr().out
    assert cli.main(["check", str(bundle), "--provider", "cpu", "--format", "json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    wrong = [name for name, one in facts["compared"].items() if one["comparison"]["faults"]]
    assert facts["ok"] is False and wrong == ["thinker_step"]
    assert cli.main(["check", str(bundle)]) == 0, "its files are as the manifest says"
    assert cli.main(build) == 1, "nothing is built, and what was never compared is"
    assert not Manifest.read(bundle).engines


def test_a_graph_that_is_killed_is_not_taken_out(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Nothing is known of it."""
    build = ["build", str(bundle), "--target", "cpu", "--graphs", *QUICK]
    dies = bundle.parent / "dies.py"
    dies.write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setattr("omnijet.runtime.commands.references.CHILD", dies)
    assert cli.main(build) == 1
    out, err = capsys.readouterr()
    assert "was killed: memory has probably run out" in out and "kept" not in err
    assert set(Manifest.read(bundle).engines["cpu"]) == set(QUICK)


def test_what_nothing_replaces_stays(
    nano_bf16: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """A processor runs a bundle in bf16 only once all its graphs are built."""
    bundle = Path(shutil.copytree(nano_bf16, tmp_path / "bf16"))
    build = ["build", str(bundle), "--target", "cpu", "--graphs", "vision_encoder"]
    assert cli.main([*build, "--no-check"]) == 0
    verdict = {"comparison": {"faults": ["vision_encoder: features: far away"], "snr_db": 1.0,
               "least_db": 18.0, "cosine": 0.5, "rows": 0, "top": 0}}  # fmt: skip
    monkeypatch.setattr("omnijet.runtime.commands.references.tried", lambda *args, **more: verdict)
    capsys.readouterr()
    assert cli.main(build) == 1
    said = capsys.readouterr().err
    assert "wrong, and still there: vision_encoder" in said
    assert f"omnijet build {bundle} --target cpu --force --graphs vision_encoder" in said
    assert list(Manifest.read(bundle).engines["cpu"]) == ["vision_encoder"]


def test_engines_for_another_machine_are_not_compared(bundle: Path, capsys: Capture) -> None:
    python = fake_interpreter(bundle.parent)
    build = ["build", str(bundle), "--target", "rtx-ampere", "--python", str(python), "--graphs",
             *QUICK]  # fmt: skip
    assert cli.main(build) == 0
    said = capsys.readouterr().out
    assert "not compared with the bundle's references: " in said
    assert f"omnijet check {bundle} --engines rtx-ampere" in said


def test_nothing_built_is_nothing_compared(bundle: Path) -> None:
    assert try_engines(Bundle.open(bundle), TARGETS["cpu"], []) is None
