"""The command refuses what cannot be right before it writes anything; it shows what it would do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from omnijet import cli
from omnijet.deployment.deploy.folder import usual_folder
from omnijet.deployment.deploy.order import Order
from omnijet.engines.targets.target import TARGETS
from omnijet.quantization.recipes import recommended
from tests.command import Capture, refused

NANO = Path(__file__).parents[3] / "nano" / "checkpoint"


def test_faults_before_any_work(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    deploy = ("deploy", NANO, "--out", out, "--target")
    assert "--target auto" in refused(capsys, *deploy, "x")
    assert "no target is given" in refused(capsys, "deploy", NANO, "--out", out)
    assert "did you mean rtx-ada" in refused(capsys, *deploy, "rtx-adda")
    assert "there is no recipe" in refused(capsys, *deploy, "rtx-ada", "--recipe", "x")
    assert "no such conversations" in refused(capsys, *deploy, "rtx-ada", "--data", "nowhere")
    assert "no name of a device" in refused(capsys, *deploy, "rtx-ada", "--on=-oProxyCommand=x")
    assert "no folder for a deployment" in refused(
        capsys, *deploy, "rtx-ada", "--on", "h", "--remote-folder", "a\nb"
    )
    assert "this is no command" in refused(
        capsys, *deploy, "rtx-ada", "--on", "h", "--remote-command", "a\nb"
    )
    assert "no ssh on this machine" in refused(
        capsys, *deploy, "rtx-ada", "--on", "h", "--ssh", "no-such-ssh"
    )
    assert "nothing to deploy" in refused(capsys, "deploy")
    assert "no folder of a deployment" in refused(capsys, "deploy", "--resume", tmp_path)
    assert "--recipe" in refused(capsys, "deploy", "--resume", tmp_path, "--recipe", "orin-int4")
    assert not out.exists()


def test_a_folder_of_the_user_is_left_alone(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    said = refused(capsys, "deploy", NANO, "--target", "cpu", "--out", tmp_path)
    assert "is no deployment" in said
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_folder_of_another_model_is_left_alone(tmp_path: Path, capsys: Capture) -> None:
    Order("another", "cpu", "cpu-int4", "f32").write(tmp_path)
    said = refused(capsys, "deploy", NANO, "--target", "cpu", "--out", tmp_path)
    assert "the deployment of another checkpoint" in said
    said = refused(capsys, "deploy", "another", "--target", "cuda", "--out", tmp_path)
    assert "the deployment of another target" in said


@pytest.mark.parametrize("content", ["{", "[]", '{"format": "omnijet-deployment-1"}',
                                     '{"format": "omnijet-deployment-9"}'])  # fmt: skip
def test_a_damaged_order_is_told(tmp_path: Path, capsys: Capture, content: str) -> None:
    (tmp_path / "deploy.json").write_text(content)
    assert "order of the deployment cannot be read" in refused(
        capsys, "deploy", "--resume", tmp_path
    )


@pytest.mark.parametrize("target", TARGETS)
def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: Capture, target: str) -> None:
    out = tmp_path / "out"
    command = ["deploy", str(NANO), "--target", target, "--out", str(out), "--dry-run"]
    assert cli.main([*command, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    states = {one["step"]: one["state"] for one in found["steps"]}
    assert states["export"] == states["quantize"] == states["check"] == "to do"
    assert found["recipe"] == recommended(TARGETS[target]).name
    if TARGETS[target].library == "tensorrt":
        assert states["build"] == "waits"
    assert not out.exists()
    assert cli.main(command) == 0
    assert "export" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("checkpoint", "name"),
    [
        ("Qwen/Qwen2.5-Omni-3B", "Qwen2.5-Omni-3B-cpu"),
        ("Qwen/Qwen2.5-Omni-3B@main", "Qwen2.5-Omni-3B-cpu"),
        (str(NANO) + "/", "checkpoint-cpu"),
        ("..", None),
        ("-x/a b;c", "a-b-c-cpu"),
    ],
)
def test_the_usual_folder(checkpoint: str, name: str | None) -> None:
    found = str(usual_folder(checkpoint, "cpu"))
    assert found == (name or f"{Path('..').resolve().name}-cpu")
