"""What lies in a bundle beside its files, and links of all kinds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from omnijet.runtime.bundle.folder import Bundle, check_files
from omnijet.runtime.errors import OmnijetError
from tests.runtime.bundle.test_folder import toy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return toy(tmp_path / "bundle", speech=False)


def faults(folder: Path) -> list[str]:
    return check_files(Bundle.open(folder))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda at: (at / "a").write_text(""), "a: not in the manifest"),
        (lambda at: (at / "graphs/.a").write_text(""), "graphs/.a: not in the manifest"),
        (lambda at: (at / "a\x1b[2J\n").write_text(""), "a\\x1b[2J\n: not in the manifest"),
        (lambda at: (at / os.fsdecode(b"\xff")).write_text(""), "\\xff: not in the manifest"),
        (lambda at: (at / "b").mkdir(), "b/: not in the manifest (empty)"),
        (lambda at: shutil.copytree(at / "graphs", at / "b/c"),
         "b/: not in the manifest (6 files)"),
        (lambda at: os.mkfifo(at / "c"), "c: not in the manifest (a pipe)"),
        (lambda at: (at / "d").symlink_to("/dev"), "d: not in the manifest (a link to a folder)"),
        (lambda at: (at / "d").symlink_to(at / "tokenizer.json"),
         "d: not in the manifest (a link)"),
        (lambda at: (at / "d").symlink_to("gone"), "d: not in the manifest (a link to nothing)"),
    ],
)  # fmt: skip
def test_whatever_is_not_in_the_manifest_is_told(
    folder: Path, make: Callable[[Path], object], said: str
) -> None:
    make(folder)
    assert faults(folder) == [said]


def test_a_linked_folder_is_told(folder: Path, tmp_path: Path) -> None:
    (folder / "graphs").rename(tmp_path / "elsewhere")
    (folder / "graphs").symlink_to(tmp_path / "elsewhere")
    assert faults(folder) == ["graphs: expected a folder, got a link to a folder"]


def test_a_cache_of_links_to_blobs_is_whole(folder: Path, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots/abc"
    blobs.mkdir()
    for number, path in enumerate(sorted(p for p in folder.rglob("*") if p.is_file())):
        path.rename(blobs / str(number))
        link = snapshot / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blobs / str(number), link.parent))
    assert faults(snapshot) == []
    (tmp_path / "linked").symlink_to(snapshot)
    assert faults(tmp_path / "linked") == []


def test_a_pipe_in_place_of_a_file_is_not_waited_for(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    os.mkfifo(folder / "tokenizer.json")
    with pytest.raises(OmnijetError, match=r"tokenizer\.json: no regular file"):
        Bundle.open(folder)


def test_a_flood_of_strays_is_counted(folder: Path) -> None:
    for number in range(150):
        (folder / f"{number:03}").touch()
    found = faults(folder)
    assert len(found) == 101 and found[-1] == "50 more are not in the manifest"
    assert found[0] == "000: not in the manifest"
