"""Files that are replaced or edited while they are in use."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.manifest import FILE_NAME, Manifest
from omnijet.runtime.bundle.stamp import Stamp
from omnijet.runtime.bundle.watch import Watch
from omnijet.runtime.errors import OmnijetError
from tests.runtime.bundle.test_folder import toy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    for name in ("a", "b"):
        write(made / name, b"old")
    return made


def write(path: Path, content: bytes) -> None:
    """Writes in place, some time ago: two writes within a tick of the clock have one time."""
    path.write_bytes(content)
    times = write.__dict__
    times["last"] = times.get("last", time.time_ns() - 10**12) + 10**9
    os.utime(path, ns=(times["last"], times["last"]))


def replace(path: Path, content: bytes) -> None:
    write(path.with_name("new"), content)
    os.replace(path.with_name("new"), path)


def read(watch: Watch, folder: Path, *names: str) -> None:
    with watch.reading(*names):
        for name in names:
            (folder / name).read_bytes()


@pytest.mark.parametrize("change", [write, replace])
@pytest.mark.parametrize("content", [b"new", b"longer"])
def test_what_was_replaced_is_not_read(folder: Path, change: type, content: bytes) -> None:
    watch = Watch(folder, ["a", "b"])
    read(watch, folder, "a")
    change(folder / "b", content)
    with pytest.raises(OmnijetError, match="replaced while it was in use") as caught:
        read(watch, folder, "a", "b")
    assert "b: another file" in str(caught.value) and "a:" not in str(caught.value.got)


def test_a_swap_in_the_middle_of_reading_is_found(folder: Path) -> None:
    watch = Watch(folder, ["a"])
    with pytest.raises(OmnijetError, match="replaced"), watch.reading("a"):
        replace(folder / "a", b"new")


@pytest.mark.parametrize("swap", ["away", "other"])
def test_an_error_that_a_swap_caused_says_so(folder: Path, swap: str) -> None:
    watch = Watch(folder, ["a"])
    with pytest.raises(OmnijetError, match="replaced while") as caught, watch.reading("a"):
        if swap == "away":
            folder.rename(folder.with_name("away"))
        else:
            replace(folder / "a", b"new")
        raise OmnijetError("the file makes no sense")
    assert "no sense" in str(caught.value.__cause__)


def test_other_errors_stay(folder: Path) -> None:
    with pytest.raises(OmnijetError, match="no sense"), Watch(folder, ["a"]).reading("a"):
        raise OmnijetError("the file makes no sense")
    with pytest.raises(FileNotFoundError), Watch(folder, ["c"]).reading("c"):
        (folder / "c").read_bytes()


def test_what_was_opened_stays_when_its_name_goes(folder: Path) -> None:
    watch = Watch(folder, ["a", "b"])
    read(watch, folder, "a", "b")
    watch.require_unedited()
    (folder / "a").unlink()
    replace(folder / "b", b"longer")
    watch.require_unedited()


def test_what_is_mapped_must_not_be_edited(folder: Path) -> None:
    watch = Watch(folder, ["a", "b"])
    read(watch, folder, "a")
    write(folder / "b", b"new")  # nobody has read it yet
    watch.require_unedited()
    write(folder / "a", b"new")
    with pytest.raises(OmnijetError, match="edited while") as caught:
        watch.require_unedited()
    assert "a: written" in str(caught.value) and "omnijet check" in str(caught.value)


def test_another_name_or_other_rights_are_no_change(folder: Path) -> None:
    (folder / "link").symlink_to("a")
    watch = Watch(folder, ["a", "link"])
    os.link(folder / "a", folder / "twin")
    (folder / "a").chmod(0o600)
    read(watch, folder, "a", "link")
    watch.require_unedited()
    (folder / "link").unlink()
    (folder / "link").symlink_to("b")  # as a hub's cache does for another revision
    with pytest.raises(OmnijetError, match="replaced"):
        read(watch, folder, "link")


def test_a_bundle_is_opened_in_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, other = toy(tmp_path / "bundle"), toy(tmp_path / "other")
    read_before = Manifest.read

    def read_and_swap(place: Path) -> Manifest:
        manifest = read_before(place)
        folder.rename(tmp_path / "away")
        other.rename(folder)
        return manifest

    monkeypatch.setattr(Manifest, "read", staticmethod(read_and_swap))
    with pytest.raises(OmnijetError, match="replaced while"):
        Bundle.open(folder)


def test_tables_and_texts_are_watched(tmp_path: Path) -> None:
    folder, other = toy(tmp_path / "bundle"), toy(tmp_path / "other")
    bundle = Bundle.open(folder)
    kept = bundle.table("no_voice")
    folder.rename(tmp_path / "away")
    other.rename(folder)
    for read in (lambda: bundle.table("no_voice"), lambda: bundle.text("tables/no_voice.npy")):
        with pytest.raises(OmnijetError, match="open the bundle again"):
            read()
    assert kept.sum() == 63 * 32
    assert Stamp.of(folder / FILE_NAME) is not None and Stamp.of(folder / "none") is None
