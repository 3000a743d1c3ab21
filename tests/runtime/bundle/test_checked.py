"""What was checked is what runs: changed files are found without hashing a bundle at each start."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from omnijet.runtime.bundle import checked
from omnijet.runtime.bundle.checked import (
    Record,
    note_extended,
    note_written,
    recorded,
    records_folder,
    require_as_checked,
)
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.manifest import FILE_NAME
from omnijet.runtime.bundle.stamp import Stamp
from omnijet.runtime.errors import OmnijetError
from tests.runtime.bundle.test_folder import edit, toy

GRAPH, TABLE = "graphs/vocoder.onnx", "tables/no_voice.npy"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "omnijet" / "checked"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = toy(tmp_path / "bundle")
    note_written(made)
    return made


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are hashed from now on."""
    names: list[str] = []
    real = checked.hash_file

    def noting(path: Path, *more: object) -> object:
        names.append(path.name)
        return real(path, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(checked, "hash_file", noting)
    return names


def flip(path: Path) -> None:
    """Changes a byte in place, in another tick of the clock than the last change."""
    before = Stamp.of(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    while Stamp.of(path) == before:
        path.write_bytes(content)


def opens(folder: Path) -> bool:
    return require_as_checked(Bundle.open(folder))


def refusal(folder: Path) -> str:
    with pytest.raises(OmnijetError) as caught:
        opens(folder)
    return str(caught.value)


def test_nothing_but_the_manifest_is_hashed(folder: Path, hashed: list[str]) -> None:
    assert opens(folder) and hashed == [FILE_NAME]


def test_a_bundle_that_was_never_checked_is_opened(tmp_path: Path) -> None:
    assert not opens(toy(tmp_path / "other"))


def test_all_changed_files_are_listed(folder: Path) -> None:
    for name in (GRAPH, TABLE):
        flip(folder / name)
    said = refusal(folder)
    assert "2 files of the bundle changed" in said and GRAPH in said and TABLE in said
    assert "omnijet check" in said and "sha256" in said
    flip(folder / GRAPH)
    flip(folder / TABLE)
    assert opens(folder)


def touch(path: Path) -> None:
    os.utime(path)


def copy(path: Path) -> None:
    shutil.copy2(path, path.with_name("copy"))
    os.replace(path.with_name("copy"), path)


def more_names(path: Path) -> None:
    os.link(path, path.parents[2] / "twin")


@pytest.mark.parametrize("change", [touch, copy, more_names])
def test_what_only_looks_changed_is_hashed_once(
    folder: Path, hashed: list[str], change: Callable[[Path], None]
) -> None:
    change(folder / TABLE)
    assert opens(folder) and hashed.count("no_voice.npy") == 1
    assert opens(folder) and hashed.count("no_voice.npy") == 1


def test_times_that_were_set_back_do_not_hide_an_edit(folder: Path) -> None:
    before = (folder / TABLE).stat()
    flip(folder / TABLE)
    os.utime(folder / TABLE, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert TABLE in refusal(folder)


def test_another_manifest_is_refused(folder: Path) -> None:
    edit(folder, name="other")
    assert "another manifest" in refusal(folder)
    note_written(folder)
    assert opens(folder)


@pytest.mark.parametrize("layout", ["folder", "files"])
def test_links_are_followed(tmp_path: Path, layout: str) -> None:
    """A linked bundle, and a hub's cache, whose files are links to blobs."""
    real = toy(tmp_path / "real")
    folder = tmp_path / "bundle"
    if layout == "folder":
        folder.symlink_to(real)
    else:
        shutil.copytree(real, folder, copy_function=lambda a, b: Path(b).symlink_to(a))
    note_written(folder)
    assert opens(folder)
    flip(real / TABLE)
    assert TABLE in refusal(folder)


def test_a_file_that_comes_later_is_hashed(folder: Path, hashed: list[str]) -> None:
    record = recorded(Bundle.open(folder))
    assert record is not None
    files = {name: one for name, one in record.files.items() if name != TABLE}
    Record(record.bundle, record.manifest, files).write()
    hashed.clear()
    assert opens(folder) and "no_voice.npy" in hashed
    assert opens(folder) and hashed.count("no_voice.npy") == 1


@pytest.mark.parametrize("content", [
    "", "[]", "{", "[" * 100_000, '{"format": "omnijet-checked-1"}', "1, 2", "1, 2, 3, 4, true",
])  # fmt: skip
def test_a_damaged_record_counts_as_none(folder: Path, state: Path, content: str) -> None:
    if content[:1].isdigit():
        head = '{"format": "omnijet-checked-1", "bundle": "x", "manifest": "y", "files": '
        content = head + '{"a": [' + content + "]}}"
    (path,) = state.iterdir()
    path.write_text(content)
    assert not opens(folder)


def test_one_record_for_each_bundle(folder: Path, state: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    note_written(tmp_path / "link")
    assert len(list(state.iterdir())) == 1
    note_written(toy(tmp_path / "other"))
    assert len(list(state.iterdir())) == 2
    flip(folder / TABLE)
    assert opens(tmp_path / "other")


def test_old_records_of_bundles_that_are_gone_go_too(
    folder: Path, state: Path, tmp_path: Path
) -> None:
    (path,) = state.iterdir()
    long_ago = time.time() - 40 * 86400
    os.utime(path, (long_ago, long_ago))
    note_written(toy(tmp_path / "other"))
    assert path.exists()
    shutil.rmtree(folder)
    note_written(tmp_path / "other")
    assert not path.exists() and len(list(state.iterdir())) == 1


def test_no_place_for_a_record_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = toy(tmp_path / "bundle")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    note_written(folder)
    assert not opens(folder) and not Record.of(Bundle.open(folder)).write()


def test_the_place_is_that_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    for given in ("", "relative"):  # to be ignored
        monkeypatch.setenv("XDG_STATE_HOME", given)
        assert records_folder() == Path("/home/someone/.local/state/omnijet/checked")


def test_more_files_keep_what_was_known_of_the_rest(folder: Path, hashed: list[str]) -> None:
    """As `build` adds engines: a graph that was damaged meanwhile is still found."""
    before = Bundle.open(folder)
    record = recorded(before)
    flip(folder / GRAPH)
    data = json.loads((folder / FILE_NAME).read_text())
    (folder / "more").write_bytes(b"x")
    data["files"]["more"] = {"bytes": 1, "sha256": checked.hash_file(folder / "more").sha256}
    edit(folder, files=data["files"])
    note_extended(before, record)
    assert GRAPH in refusal(folder)
    flip(folder / GRAPH)
    hashed.clear()
    assert opens(folder) and "more" not in hashed
    note_extended(before, None)


def test_what_was_checked_is_what_is_loaded(folder: Path) -> None:
    """A file that changes between the opening and the look at the record is not let through."""
    bundle = Bundle.open(folder)
    flip(folder / TABLE)
    assert require_as_checked(bundle)
    with pytest.raises(OmnijetError, match="replaced while"):
        bundle.table("no_voice")
