"""Archives of strangers write within their folder, and no more than there is room for."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from omnijet.runtime.files import archive
from omnijet.runtime.files.archive import UNREADABLE, unpack


def packed(path: Path, *entries: zipfile.ZipInfo | str, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for entry in entries:
            file.writestr(entry, b"content")
    return path


def test_files_and_folders(tmp_path: Path) -> None:
    unpack(packed(tmp_path / "a.zip", "lines.jsonl", "media/", "media/a.wav"), tmp_path)
    assert (tmp_path / "media" / "a.wav").read_bytes() == b"content"


def link() -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo("media")
    entry.external_attr = 0o120777 << 16
    return entry


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (("../out",), "outside"),
        (("/out",), "outside"),
        (("a\\..\\out",), "outside"),
        (("a/../../out",), "outside"),
        ((link(),), "link"),
        (("a", "b", "a"), "twice"),
        (("\x1b[31m/../../x",), "outside"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_what_is_refused(tmp_path: Path, entries: tuple[str, ...], words: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with pytest.raises(UNREADABLE, match=words) as caught:
        unpack(packed(tmp_path / "a.zip", *entries), folder)
    assert "\x1b" not in str(caught.value)
    assert not list(folder.iterdir()) and {path.name for path in tmp_path.iterdir()} == {
        "a.zip", "in",
    }  # fmt: skip


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, folder = (
        packed(tmp_path / "a.zip", *(f"{number}" for number in range(9))),
        tmp_path / "in",
    )
    folder.mkdir()
    monkeypatch.setattr(archive, "MOST_FILES", 8)
    with pytest.raises(ValueError, match="9 files, of at most 8"):
        unpack(path, folder)
    monkeypatch.setattr(archive, "MOST_FILES", 9)
    monkeypatch.setattr(archive, "MOST_BYTES", 62)
    with pytest.raises(ValueError, match="63 bytes when unpacked, of at most 62"):
        unpack(path, folder)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_packers_are_refused(tmp_path: Path, method: int) -> None:
    with pytest.raises(UNREADABLE, match="deflate"):
        unpack(packed(tmp_path / "a.zip", "a", method=method), tmp_path)


def test_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.zip")
    for path in (tmp_path / "pipe.zip", Path("/dev/zero"), tmp_path):
        with pytest.raises(UNREADABLE):
            unpack(path, tmp_path)
