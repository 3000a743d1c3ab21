"""The commands that run a bundle refuse one that is not what `omnijet check` passed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import omnijet
from omnijet import cli
from omnijet.runtime.bundle.checked import Record
from omnijet.runtime.commands.opening import opened
from omnijet.runtime.errors import OmnijetError
from tests.command import Capture, refused

TABLE = "tables/dit_times.npy"


@pytest.fixture
def bundle(nano: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy, which nobody has checked."""
    return Path(shutil.copytree(nano[1], tmp_path / "bundle"))


def damage(bundle: Path, name: str = TABLE) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[-1] ^= 1
    (bundle / name).write_bytes(content)


def said_at_opening(bundle: Path, capsys: Capture) -> str:
    capsys.readouterr()
    parser = cli.argparse.ArgumentParser()
    parser.add_argument("bundle")
    parser.set_defaults(provider="cpu", engines=None)
    opened(parser.parse_args([str(bundle)])).close()
    return capsys.readouterr().err


def test_export_and_check_leave_a_record(
    nano: tuple[Path, Path], bundle: Path, capsys: Capture
) -> None:
    assert said_at_opening(nano[1], capsys) == ""  # it was exported on this machine
    assert f"not checked on this machine: omnijet check {bundle}" in said_at_opening(bundle, capsys)
    assert cli.main(["check", str(bundle)]) == 0
    assert "kept" not in capsys.readouterr().err
    assert said_at_opening(bundle, capsys) == ""


def test_what_changed_since_is_refused(bundle: Path, capsys: Capture) -> None:
    assert cli.main(["check", str(bundle)]) == 0
    damage(bundle)
    capsys.readouterr()
    for command in (
        ["run", bundle, "--text", "Hi"], ["bench", bundle], ["profile", bundle], ["eval", bundle],
    ):  # fmt: skip
        said = refused(capsys, *command)
        assert TABLE in said and "omnijet check" in said
    with pytest.raises(OmnijetError, match="changed since it was checked"):
        omnijet.load(bundle)
    damage(bundle)
    omnijet.load(bundle).close()


def test_a_check_that_fails_leaves_no_record(bundle: Path, capsys: Capture) -> None:
    damage(bundle)
    assert cli.main(["check", str(bundle)]) == 2
    assert Record.read(bundle) is None


def test_a_bundle_that_changes_while_it_is_checked_is_not_recorded(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    from omnijet.runtime.commands import check

    real = check.check_files

    def changing(*arguments: object) -> list[str]:
        faults = real(*arguments)  # type: ignore[arg-type]
        damage(bundle)
        os.utime(bundle / TABLE)
        return faults

    monkeypatch.setattr(check, "check_files", changing)
    assert "replaced while it was in use" in refused(capsys, "check", bundle)
    assert Record.read(bundle) is None


def test_check_says_when_nothing_can_be_kept(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert cli.main(["check", str(bundle)]) == 0
    assert "cannot be written" in capsys.readouterr().err
    assert "not checked" in said_at_opening(bundle, capsys)
