"""Renames that replace nothing, swaps in one step, and their fallbacks."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from omnijet.runtime.files import disk


@pytest.mark.parametrize("able", [True, False])
def test_a_new_name_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, able: bool
) -> None:
    if not able:
        monkeypatch.setattr(disk, "_renameat2", lambda *args: errno.EINVAL)
    (tmp_path / "file").write_text("one")
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "nowhere").symlink_to("nothing")
    for source in ("file", "folder"):
        for target in ("empty", "nowhere", "file", "folder"):
            with pytest.raises(FileExistsError):
                disk.rename_new(tmp_path / source, tmp_path / target)
    for source in ("file", "folder"):
        disk.rename_new(tmp_path / source, tmp_path / f"{source}2")
    assert (tmp_path / "file2").read_text() == "one" and (tmp_path / "folder2").is_dir()
    assert not (tmp_path / "file").exists()
    with pytest.raises(FileNotFoundError):
        disk.rename_new(tmp_path / "gone", tmp_path / "new")


def test_a_swap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert disk.exchange(tmp_path / "one", tmp_path / "two")
    assert os.listdir(tmp_path / "one") == ["two"]
    with pytest.raises(FileNotFoundError):
        disk.exchange(tmp_path / "one", tmp_path / "three")
    monkeypatch.setattr(disk, "_call", lambda: None)  # neither the function nor the number
    assert not disk.exchange(tmp_path / "one", tmp_path / "two")


def test_the_number_of_the_system_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The C library of small systems has no function for it."""

    class Small:
        def __init__(self) -> None:
            self.syscall = real.syscall

    real = disk.ctypes.CDLL(None, use_errno=True)
    monkeypatch.setattr(disk.ctypes, "CDLL", lambda *args, **options: Small())
    (tmp_path / "one").touch()
    (tmp_path / "two").touch()
    with pytest.raises(FileExistsError):
        disk.rename_new(tmp_path / "one", tmp_path / "two")
    disk.rename_new(tmp_path / "one", tmp_path / "three")


def test_mounted_folders_are_known(tmp_path: Path) -> None:
    assert disk.is_mounted(Path("/proc")) and not disk.is_mounted(tmp_path)
    assert disk._unescaped(rb"/a\040b\134") == rb"/a b" + b"\\"


def test_a_tree_is_synced_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file").touch()
    (tmp_path / "a/link").symlink_to("/nowhere")
    (tmp_path / "a/out").symlink_to("/proc")
    disk.sync_tree(tmp_path)


def test_a_disk_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unable(*args: object, **options: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(disk, "_renameat2", lambda *args: errno.EINVAL)
    monkeypatch.setattr(os, "link", unable)
    (tmp_path / "one").write_text("one")
    disk.rename_new(tmp_path / "one", tmp_path / "two")
    assert os.listdir(tmp_path) == ["two"]
    (tmp_path / "one").touch()
    with pytest.raises(FileExistsError):
        disk.rename_new(tmp_path / "one", tmp_path / "two")


def test_each_new_folder_is_named_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(disk, "sync_folder", synced.append)
    disk.make_folders(tmp_path / "a/b/c")
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a/b"]
    disk.make_folders(tmp_path / "a")
    assert (tmp_path / "a/b/c").is_dir() and len(synced) == 3


def test_a_folder_behind_a_link_is_synced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    disk.sync_folder(tmp_path / "link")
