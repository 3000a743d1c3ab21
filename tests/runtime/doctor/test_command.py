"""`omnijet doctor` at work: what it prints, its exit code, its report."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from omnijet import cli
from omnijet.runtime.doctor import command
from omnijet.runtime.files.printable import printable
from tests.command import Capture, refused
from tests.runtime.bundle.test_folder import toy
from tests.runtime.doctor.patients import patient

ESC = "\x1b[2J\x1b]0;owned\x07\u202e"


@pytest.fixture
def rehearse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has the command look at a machine in order in place of this one."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def begin(name: str) -> None:
        here = patient(tmp_path, name)
        monkeypatch.setenv("OMNIJET_MACHINE_ROOT", str(here.root))
        monkeypatch.setattr(command, "AskedLibraries", lambda: nullcontext(here.libraries))

    return begin


def test_a_table_and_the_lines_to_type(rehearse: Callable[[str], None], capsys: Capture) -> None:
    rehearse("orin-nano-jp72")
    assert cli.main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "JetPack 7.2 (Jetson Linux 39.2.0)" in said and "Orin, SM87" in said
    assert "note zram:\n    sudo systemctl disable --now nvzramconfig && sudo fallocate" in said
    assert said.endswith("nothing was found that will not work\n")


@pytest.mark.parametrize("option", [("--json",), ("--format", "json")])
def test_json(
    rehearse: Callable[[str], None], capsys: Capture, tmp_path: Path, option: tuple[str, ...]
) -> None:
    rehearse("workstation")
    assert cli.main(["doctor", str(toy(tmp_path / "bundle")), *option]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True and told["platform"]["compute_capability"] == 89
    assert "omnijet" in told["versions"]
    states = {one["name"]: one["state"] for one in told["findings"]}
    assert states["bundle"] == "ok" and states["bundle check"] == "note"
    assert all(set(one) == {"name", "state", "said", "fix"} for one in told["findings"])


def test_a_fault_is_exit_code_1(
    rehearse: Callable[[str], None], capsys: Capture, tmp_path: Path
) -> None:
    rehearse("pc")
    assert cli.main(["doctor", str(tmp_path / "no-bundle"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False
    assert cli.main(["doctor", str(tmp_path / "no-bundle")]) == 1
    said = capsys.readouterr().out
    assert said.endswith("1 fault: something will not work\n")
    assert f"FAULT bundle:\n    omnijet export CHECKPOINT {tmp_path}/no-bundle\n" in said


def test_names_of_others_steer_no_terminal(
    rehearse: Callable[[str], None], capsys: Capture, tmp_path: Path
) -> None:
    rehearse("pc")
    folder = toy(tmp_path / "bundle").rename(tmp_path / f"{ESC}[red]")
    for options in ((), ("--json",), ("--report", str(tmp_path / "report"))):
        cli.main(["doctor", str(folder), *options])
        told = capsys.readouterr()
        assert printable(told.out) == told.out and printable(told.err) == told.err
        assert "Traceback" not in told.err
    assert "\x1b" not in (tmp_path / "report").read_text()


def test_a_report(rehearse: Callable[[str], None], capsys: Capture, tmp_path: Path) -> None:
    rehearse("thor-jp72")
    path, folder = tmp_path / "report.zip", toy(tmp_path / "secret name")
    assert cli.main(["doctor", str(folder), "--report", str(path)]) == 0
    assert "read it before you send it" in capsys.readouterr().err
    with zipfile.ZipFile(path) as file:
        facts = json.loads(file.read("report.json"))
        assert "secret name" not in file.read("report.txt").decode() + json.dumps(facts)
    assert facts["bundle"]["precision"] == "f32"


def test_a_report_harms_no_bundle(
    rehearse: Callable[[str], None], capsys: Capture, tmp_path: Path
) -> None:
    rehearse("pc")
    folder = toy(tmp_path / "bundle")
    before = (folder / "manifest.json").read_bytes()
    refused(capsys, "doctor", folder, "--report", folder / "manifest.json")
    refused(capsys, "doctor", folder, "--report", tmp_path / "nowhere" / "report.zip")
    assert (folder / "manifest.json").read_bytes() == before


def test_the_command_changes_nothing(
    rehearse: Callable[[str], None], capsys: Capture, tmp_path: Path
) -> None:
    rehearse("orin-nano-jp62")
    folder = toy(tmp_path / "bundle")

    def state() -> dict[str, int]:
        return {str(path): path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}

    before = state()
    cli.main(["doctor", str(folder)])
    assert state() == before
