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
    assert {one["compared"] for one in again.values()} == {None}, "nothing was built"


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
        said = capsys.readouterr().out
        assert "FAILED thinker_step: in the prompt, layer" in said and "from now on" not in said
        assert "not kept: thinker_step" in said
        manifest = Manifest.read(bundle)
        assert not manifest.engines and not list((bundle / "engines").rglob("thinker*"))
        assert cli.main(["check", str(bundle), "--provider", "cpu"]) == 0, "the bundle's own runs"
        capsys.readouterr()
    assert cli.main([*build, "--no-check"]) == 0
    assert "references" not in capsys.readouterr().out
    assert cli.main(["check", str(bundle), "--provider", "cpu", "--format", "json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    wrong = [name for name, one in facts["compared"].items() if one["comparison"]["faults"]]
    assert facts["ok"] is False and wrong == ["thinker_step"]
    assert cli.main(["check", str(bundle)]) == 0, "its files are as the manifest says"


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
