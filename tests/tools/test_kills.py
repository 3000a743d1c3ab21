"""A dozen kills of `tools.kills`; what it must notice is noticed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from omnijet.export import stages
from tools.kills.__main__ import main
from tools.kills.scene import Scene


def test_a_dozen_kills_harm_nothing(
    nano: tuple[Path, Path], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, bundle = nano
    monkeypatch.setattr(stages, "traced_graphs", stages.traced_graphs)  # restored afterwards
    command = [str(bundle), "--checkpoint", str(checkpoint), "--trials", "12", "--seed", "5"]
    code = main([*command, "--traces", str(bundle.parent / "traces")])
    said = capfd.readouterr()
    assert code == 0, said.err
    assert "| export | 6 | 2 | 2 | 2 |" in said.out and "| quantize | 6 |" in said.out


def test_harm_is_noticed(nano: tuple[Path, Path], tmp_path: Path) -> None:
    scene = Scene.of(tmp_path / "home", nano[1])
    assert scene.faults() == [] and scene.left() == [] and scene.is_old()
    (scene.home / "precious/deep/two.txt").unlink()
    (scene.out / "linked").unlink()
    (scene.home / ".out.lock").touch()
    (scene.out / "graphs/left").touch()
    (scene.home / "out.kept-1/empty").mkdir(parents=True)
    assert len(scene.faults()) == 2
    assert sorted(scene.left()) == [".out.lock", "graphs/left", "out.kept-1/empty"]
    weights = scene.out / "graphs/vocoder.weights"
    weights.write_bytes(b"\1" + weights.read_bytes()[1:])
    assert len(scene.faults()) == 3
    shutil.rmtree(scene.out)
    assert not scene.is_old() and any("no whole bundle" in fault for fault in scene.faults())
