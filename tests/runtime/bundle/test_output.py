"""A bundle replaces bundles only, and says which engines went."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from omnijet.runtime.bundle.checked import Record
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.output import (
    bundle_files,
    require_output,
    require_place,
    staged_bundle,
)
from omnijet.runtime.commands.sample_file import SampleFile
from omnijet.runtime.errors import OmnijetError


def old_bundle(folder: Path, manifest: object) -> Path:
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "a").touch()
    return folder


@pytest.mark.parametrize("built", [0, 2])
def test_deleted_engines_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, built: int
) -> None:
    """A warning names the deleted engines, which may have taken hours, if a bundle is replaced."""
    engines = {"rtx-ada": {str(one): {} for one in range(built)}}
    target = old_bundle(tmp_path / "bundle", {"files": {"a": {}}, "engines": engines})
    with pytest.raises(ValueError), staged_bundle(target, replace=True):
        raise ValueError
    assert not caplog.messages
    with staged_bundle(target, replace=True) as folder:
        (folder / "new").write_text("new")
    assert [message.split(" were")[0] for message in caplog.messages] == ["2 engines"] * (built > 0)
    assert [path.name for path in target.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("manifest", [[], {"files": [1]}, {"files": {"../x": 1}, "engines": [2]}])
def test_a_damaged_bundle_may_be_replaced(tmp_path: Path, manifest: object) -> None:
    (tmp_path / "x").touch()
    target = old_bundle(tmp_path / "bundle", manifest)
    with staged_bundle(target, replace=True) as folder:
        (folder / "new").write_text("new")
    # who made `a` is unknown
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "bundle.kept-1", "x"]


def test_other_folders_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    for replace in (False, True):
        with pytest.raises(OmnijetError, match=r"not a bundle|exists already"):
            require_place(tmp_path / "thesis", replace=replace)
    require_place(tmp_path / "new", replace=True)
    bundle = old_bundle(tmp_path / "bundle", {"files": {"a": {}}})
    assert bundle_files(bundle) == ["a", "manifest.json"]


def test_the_record_of_the_old_bundle_goes_before_the_swap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise, the new bundle would be refused after a kill right at the swap."""
    target = old_bundle(tmp_path / "bundle", {"files": {"a": {}}})
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert Record(os.path.realpath(target), "0" * 64, {}).write()
    with staged_bundle(target, replace=True) as folder:
        (folder / "new").touch()
        assert Record.read(target) is not None
    assert Record.read(target) is None


@pytest.mark.parametrize("name", [os.fsdecode(b"\xff"), os.fsdecode(b"\xff/deep")])
def test_names_that_no_library_takes(tmp_path: Path, name: str) -> None:
    for replace in (False, True):
        with pytest.raises(OmnijetError, match="paths in UTF-8"):
            require_place(tmp_path / name, replace=replace)
    with (
        pytest.raises(OmnijetError, match="paths in UTF-8"),
        staged_bundle(tmp_path / name, replace=False),
    ):
        pytest.fail("work has begun")
    with pytest.raises(OmnijetError, match="paths in UTF-8"):
        Bundle.open(tmp_path / name)


def test_no_result_lies_in_a_bundle(tmp_path: Path) -> None:
    """`run BUNDLE --out BUNDLE/manifest.json` would cost the bundle."""
    bundle = old_bundle(tmp_path / "bundle", {"files": {"a": {}}, "contracts": {"a": {}}})
    (bundle / "deep").mkdir()
    (tmp_path / "link").symlink_to(bundle / "a")
    require_output(tmp_path / "reply.wav")
    for path in (bundle / "manifest.json", bundle / "deep/new.wav", tmp_path / "link"):
        with pytest.raises(OmnijetError, match="would lie in a bundle"):
            require_output(path)
        with pytest.raises(OmnijetError, match="would lie in a bundle"):
            SampleFile(str(path))
