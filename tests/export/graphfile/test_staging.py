"""Tests of staged output folders: no fault leaves a partial result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from omnijet.export.graphfile.staging import staged_folder
from omnijet.runtime.bundle.manifest import EngineEntry, FileEntry, Manifest
from omnijet.runtime.errors import OmnijetError


def test_success_renames(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "bundle"
    with staged_folder(target, replace=False) as folder:
        (folder / "a").write_text("1")
        assert not target.exists()
    assert (target / "a").read_text() == "1"
    assert [p.name for p in target.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt, OSError])
def test_a_fault_leaves_nothing(tmp_path: Path, fault: type[BaseException]) -> None:
    with pytest.raises(fault), staged_folder(tmp_path / "bundle", replace=False) as folder:
        (folder / "a").write_text("1")
        raise fault
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("built", [0, 2])
def test_deleted_engines_are_reported(
    nano_f16: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, built: int
) -> None:
    """A warning names the deleted engines, which may have taken hours, if a bundle is replaced."""
    target, manifest = tmp_path / "bundle", Manifest.read(nano_f16)
    target.mkdir()
    entry = EngineEntry("engines/rtx-ada/x", "", "tensorrt_rtx", "1.7", 89, (), True, 1, 1, 1.0, 1)
    graphs = ("audio_encoder", "vocoder")[:built]
    files = {**manifest.files, entry.file: FileEntry(1, "0" * 64)}
    engines = {"rtx-ada": dict.fromkeys(graphs, entry)} if built else {}
    replace(manifest, engines=engines, files=files).write(target)
    with pytest.raises(ValueError), staged_folder(target, replace=True):
        raise ValueError
    assert not caplog.messages
    with staged_folder(target, replace=True) as folder:
        (folder / "new").write_text("new")
    assert [message.split(" were")[0] for message in caplog.messages] == ["2 engines"] * (built > 0)


def test_an_existing_target_survives_unless_replaced(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "old").write_text("old")
    with (
        pytest.raises(OmnijetError, match="exists already"),
        staged_folder(target, replace=False),
    ):
        pass
    with pytest.raises(ValueError), staged_folder(target, replace=True):
        raise ValueError
    assert (target / "old").read_text() == "old"
    with staged_folder(target, replace=True) as folder:
        (folder / "new").write_text("new")
    assert [p.name for p in target.iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_a_full_disk_is_reported_before_any_work(tmp_path: Path) -> None:
    with (
        pytest.raises(OmnijetError, match="too little free space"),
        staged_folder(tmp_path / "bundle", replace=False, needed_bytes=1 << 60),
    ):
        pytest.fail("work has started")
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_parent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OmnijetError, match="cannot be written"),
        staged_folder(tmp_path / "file" / "bundle", replace=False),
    ):
        pass
