"""Files are written completely or not at all, and never through somebody's link by mistake."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.whole_file import check_writable, write_whole, writing_whole


def test_a_file_is_replaced_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_whole(path, b"old")
    path.chmod(0o600)
    write_whole(path, b"new")
    assert path.read_bytes() == b"new" and path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_links_are_followed_or_replaced(tmp_path: Path) -> None:
    there, link = tmp_path / "there", tmp_path / "link"
    there.write_bytes(b"old")
    link.symlink_to(there)
    write_whole(link, b"followed")
    assert there.read_bytes() == b"followed" and link.is_symlink()
    write_whole(link, b"replaced", follow_link=False)
    assert there.read_bytes() == b"followed" and not link.is_symlink()
    assert link.read_bytes() == b"replaced"


def test_a_pipe_is_written_directly(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(pipe, b"sound")
    assert os.read(reader, 100) == b"sound" and pipe.is_fifo()
    os.close(reader)


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    check_writable(tmp_path / "new")
    check_writable(tmp_path / "old")
    assert (tmp_path / "old").read_bytes() == b"old" and not (tmp_path / "new").exists()
    for bad, got in ((tmp_path, "a folder"), (tmp_path / "no" / "a", "no folder")):
        with pytest.raises(OmnijetError, match="cannot be written") as told:
            check_writable(bad)
        assert got in str(told.value.got)


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (f".omnijet-{'a' * 16}.partial", ".omnijet-a.partial", "a.partial", "a"):
        (tmp_path / name).write_bytes(b"left")
    (tmp_path / f".omnijet-{'b' * 16}.partial").symlink_to("a")
    with writing_whole(tmp_path / "slow") as file:
        write_whole(tmp_path / "quick", b"new")
        file.write(b"new")
    names = {path.name for path in tmp_path.iterdir()}
    kept = {".omnijet-a.partial", "a.partial", "a", f".omnijet-{'b' * 16}.partial"}
    assert names == {"slow", "quick", *kept}
    assert (tmp_path / "a").read_bytes() == b"left"
    assert (tmp_path / "slow").read_bytes() == (tmp_path / "quick").read_bytes() == b"new"
