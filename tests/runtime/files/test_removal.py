"""Only what is named is removed, and never through a link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.inside import inside
from omnijet.runtime.files.removal import remove_named


def test_named_files_go_and_the_rest_stays(tmp_path: Path) -> None:
    folder, other = tmp_path / "bundle", tmp_path / "other"
    for path in (folder / "a/b/one", folder / "a/two", folder / "three", other / "one"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (folder / "out").symlink_to(other)
    (folder / "link").symlink_to(other / "one")
    stayed = remove_named(
        folder,
        ["a/b/one", "three", "out/one", "link", "../other/one", f"{other}/one", "a", "no/such"],
    )
    assert stayed == ["a/two", "out"]
    assert (other / "one").exists() and not (folder / "a/b").exists()
    assert remove_named(folder, ["a/two", "out"]) == [] and not folder.exists()


def test_the_list_of_names_goes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a kill in the middle, it still names what is left."""
    for name in ("a/one", "a/b/two", "list"):
        (tmp_path / "bundle" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "bundle" / name).touch()
    unlink, gone = os.unlink, []

    def noted(name: str, *, dir_fd: int) -> None:
        gone.append((name, os.listdir(tmp_path / "bundle")))
        unlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", noted)
    assert remove_named(tmp_path / "bundle", ["list", "a/one", "a/b/two"]) == []
    assert gone[-1] == ("list", ["list"])


def test_a_place_to_write_is_within_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "engines").symlink_to(tmp_path)
    (folder / "manifest.json").symlink_to(tmp_path / "blob")
    assert inside(folder, "manifest.json") == folder / "manifest.json"
    assert inside(folder, "new/deep/file") == folder / "new/deep/file"
    for bad in ("engines/a", "../a", "/a", "manifest.json/a", ""):
        with pytest.raises(OmnijetError, match="somebody else's"):
            inside(folder, bad)
