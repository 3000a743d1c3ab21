"""Tests of staged output folders: no fault leaves a partial result or costs somebody's file."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

import pytest

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files import disk, lock, staging, swap, work_folder
from omnijet.runtime.files.lock import lock_file
from omnijet.runtime.files.staging import nothing, staged_folder


def made(folder: Path) -> Collection[str]:
    """Says that the files named in `list.json` are ours, and that a folder without is not."""
    if not (folder / "list.json").is_file():
        raise OmnijetError("the folder to replace is not ours")
    names: list[str] = json.loads((folder / "list.json").read_text())
    return [*names, "list.json"]


def fill(folder: Path, text: str) -> None:
    (folder / "part").mkdir(parents=True)
    (folder / "part" / "a").write_text(text)
    (folder / "list.json").write_text('["part/a"]')


def write(target: Path, text: str, *, replace: bool = True) -> None:
    with staged_folder(target, made=made, replace=replace, last="list.json") as folder:
        fill(folder, text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_success_renames(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "bundle"
    with staged_folder(target, replace=False) as folder:
        (folder / "a").write_text("1")
        assert not target.exists()
    assert (target / "a").read_text() == "1"
    assert names(target.parent) == ["bundle"]


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt, OSError])
def test_a_fault_leaves_nothing(tmp_path: Path, fault: type[BaseException]) -> None:
    with pytest.raises(fault), staged_folder(tmp_path / "bundle", replace=False) as folder:
        (folder / "a").write_text("1")
        raise fault
    assert names(tmp_path) == []


@pytest.mark.parametrize("swaps", [True, False])
def test_an_existing_target_survives_unless_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swaps: bool
) -> None:
    if not swaps:
        monkeypatch.setattr(swap, "exchange", lambda one, other: False)
    target = tmp_path / "bundle"
    write(target, "old")
    with pytest.raises(OmnijetError, match="exists already"):
        write(target, "new", replace=False)
    with pytest.raises(ValueError), staged_folder(target, made=made, replace=True):
        raise ValueError
    assert (target / "part/a").read_text() == "old"
    write(target, "new")
    assert (target / "part/a").read_text() == "new"
    assert names(tmp_path) == ["bundle"]


def test_only_what_is_ours_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    with pytest.raises(OmnijetError, match="not ours"):
        write(tmp_path / "thesis", "new")
    assert names(tmp_path) == ["thesis"]


def test_a_users_file_in_what_is_replaced_is_kept_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target, elsewhere = tmp_path / "bundle", tmp_path / "elsewhere"
    write(target, "old")
    elsewhere.mkdir()
    (elsewhere / "a").write_text("mine")
    (target / "notes.txt").write_text("mine")
    (target / "empty").mkdir()
    (target / "linked").symlink_to(elsewhere)
    (target / "list.json").write_text('["part/a", "linked/a", "../elsewhere/a", "/etc/hostname"]')
    write(target, "new")
    assert names(target) == ["list.json", "part"]
    kept = tmp_path / "bundle.kept-1"
    assert names(kept) == ["empty", "linked", "notes.txt"]
    assert (elsewhere / "a").read_text() == "mine"
    assert str(kept) in caplog.text and "notes.txt" in caplog.text


def test_an_output_that_appears_meanwhile_stays(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    for replace in (False, True):
        with (
            pytest.raises(OmnijetError, match=r"appeared|not ours"),
            staged_folder(target, made=made, replace=replace) as folder,
        ):
            fill(folder, "new")
            target.mkdir()  # even an empty one, which rename(2) would replace
        assert names(tmp_path) == ["bundle"] and names(target) == []
        target.rmdir()


def test_a_folder_that_slips_in_at_the_swap_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "bundle"
    write(target, "old")

    def late(one: Path, other: Path) -> bool:
        if not (tmp_path / "moved").exists():
            target.rename(tmp_path / "moved")
            target.mkdir()
            (target / "thesis").write_text("mine")
        return disk.exchange(one, other)

    monkeypatch.setattr(swap, "exchange", late)
    with pytest.raises(OmnijetError, match="appeared"):
        write(target, "new")
    assert names(target) == ["thesis"] and names(tmp_path) == ["bundle", "moved"]


def test_a_link_is_followed_once_and_stays(tmp_path: Path) -> None:
    write(tmp_path / "there", "old")
    (tmp_path / "bundle").symlink_to("there")
    write(tmp_path / "bundle", "new")
    assert (tmp_path / "bundle").is_symlink()
    assert (tmp_path / "there/part/a").read_text() == "new"
    assert names(tmp_path) == ["bundle", "there"]


def test_two_writers_one_is_told(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    with staged_folder(target, made=made, replace=True) as folder:
        with pytest.raises(OmnijetError, match="another process is at work") as told:
            write(target, "second")
        assert f"process {os.getpid()}" in str(told.value.got)
        fill(folder, "first")
    assert (target / "part/a").read_text() == "first"
    assert names(tmp_path) == ["bundle"]


def test_what_killed_processes_left_is_swept(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    lock_file(target).write_text('{"made by": "omnijet", "process": 1}')  # stale: nobody holds it
    for number, content in enumerate(("made by omnijet", "new", "precious")):
        (tmp_path / f".bundle.work-{number}").mkdir()
        (tmp_path / f".bundle.work-{number}" / content).touch()
    (tmp_path / ".bundle.work-4").mkdir()
    (tmp_path / ".bundle.work-5").symlink_to(tmp_path / ".bundle.work-0")
    write(target, "new")
    assert names(tmp_path) == [".bundle.work-1", ".bundle.work-2", ".bundle.work-5", "bundle"]


def _killed_at(step: int, target: Path, swaps: bool) -> None:
    """Runs a whole output in a process that ends at a step, as SIGKILL ends it."""
    count = 0

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            nonlocal count
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **options)

        return call

    for module, name in (
        (swap, "rename_new"), (swap, "sync_folder"), (swap, "sync_tree"), (swap, "remove_named"),
        (work_folder, "remove_folder"), (work_folder, "sync_folder"), (os, "fsync"), (os, "mkdir"),
        (os, "unlink"), (os, "rmdir"), (os, "rename"), (os, "replace"),
    ):  # fmt: skip
        setattr(module, name, counted(getattr(module, name)))
    swap.exchange = counted(disk.exchange if swaps else lambda one, other: False)  # type: ignore[assignment]
    write(target, "new")


@pytest.mark.parametrize("swaps", [True, False])
def test_a_kill_at_any_step_leaves_the_old_or_the_new_one(tmp_path: Path, swaps: bool) -> None:
    """Where the disk cannot swap, the next run puts the old one back."""
    spawn = multiprocessing.get_context("fork")
    texts = set()
    for step in range(1, 99):
        home = tmp_path / str(step)
        target = home / "bundle"
        write(target, "old")
        (target / "notes.txt").write_text("mine")
        process = spawn.Process(target=_killed_at, args=(step, target, swaps))
        process.start()
        process.join()
        if swaps or target.exists():
            texts.add((target / "part/a").read_text())
            assert (target / "list.json").exists()
        with suppress(OmnijetError):  # not replaced: only the sweep is wanted
            write(target, "other", replace=False)
        assert (target / "part/a").read_text() in ("old", "new")
        found = [path for path in home.rglob("notes.txt") if path.read_text() == "mine"]
        assert len(found) == 1, step
        write(target, "newest")
        assert names(home) in (["bundle"], ["bundle", "bundle.kept-1"]), step
        assert sum(len(files) for _, _, files in os.walk(home)) == 3, step
        if process.exitcode == 0:
            break
    assert process.exitcode == 0 and step > 8 and texts == {"old", "new"}


def test_a_full_disk_is_reported_before_any_work(tmp_path: Path) -> None:
    with (
        pytest.raises(OmnijetError, match="too little free space"),
        staged_folder(tmp_path / "bundle", replace=False, needed_bytes=1 << 60),
    ):
        pytest.fail("work has started")
    assert names(tmp_path) == []


def test_an_unwritable_parent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OmnijetError, match="cannot be written"),
        staged_folder(tmp_path / "file" / "bundle", replace=False),
    ):
        pass


def test_the_folder_that_the_command_runs_in_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "bundle", "old")
    (tmp_path / "bundle/part/deep").mkdir()
    for place in ("bundle", "bundle/part/deep"):
        monkeypatch.chdir(tmp_path / place)
        with pytest.raises(OmnijetError, match="the one that the command runs in") as told:
            write(Path(os.path.relpath(tmp_path / "bundle")), "new")
        assert f"cd {tmp_path}" in str(told.value.fix)
    assert (tmp_path / "bundle/part/a").read_text() == "old"
    for name in (".", "..", "/"):
        with pytest.raises(OmnijetError):
            write(Path(name), "new", replace=False)


NAMES = (
    "a" * 255,
    "\u4f60" * 85,
    "two\nlines",
    os.fsdecode(b"\xff\xfe"),
    "-rf",
    " ",
    "a/",
    "b" * 101,
)


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_any_name_that_a_folder_can_have(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the warning holds the name, and no report of a test takes bytes that are no UTF-8
    monkeypatch.setattr(logging.getLogger(swap.__name__), "disabled", True)
    target = Path(f"{tmp_path}/{name}")
    write(target, "old")
    (target / "notes.txt").write_text("mine")
    write(target, "new")
    assert (target / "part/a").read_text() == "new"
    kept = [path for path in tmp_path.iterdir() if path.name != target.name]
    assert [names(path) for path in kept] == [["notes.txt"]]


def test_names_that_no_folder_can_have(tmp_path: Path) -> None:
    for name in ("a" * 256, "nul\0"):
        with pytest.raises(OmnijetError):
            write(tmp_path / name, "new")
    assert names(tmp_path) == []


def test_long_names_that_begin_alike_have_companions_of_their_own(tmp_path: Path) -> None:
    """One of them being made is no reason not to make the other."""
    with staged_folder(tmp_path / ("a" * 255), replace=False) as folder:
        fill(folder, "first")
        write(tmp_path / ("a" * 254), "second")
        assert folder.exists()


def mount(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """Lets the room take a folder for a mounted disk."""
    for module in (lock, staging, swap):
        monkeypatch.setattr(module, "is_mounted", lambda path: path == place)


def test_a_mounted_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "disk"
    (target / "lost+found").mkdir(parents=True)
    mount(monkeypatch, target)
    inode = target.stat().st_ino
    write(target, "old", replace=False)
    assert (target / "part/a").read_text() == "old" and target.stat().st_ino == inode
    assert names(target) == ["list.json", "lost+found", "part"] and names(tmp_path) == ["disk"]
    with pytest.raises(OmnijetError, match="not empty") as told:
        write(target, "new")
    assert str(target / "bundle") in str(told.value.fix)
    assert (target / "part/a").read_text() == "old" and names(tmp_path) == ["disk"]


@pytest.mark.parametrize("named", [True, False])
def test_a_kill_in_a_mounted_disk_is_healed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    """Also where nothing says what of an output is ours: the work folder does."""
    for step in range(1, 99):
        target = tmp_path / str(step)
        target.mkdir()
        mount(monkeypatch, target)
        process = multiprocessing.get_context("fork").Process(
            target=_killed_at, args=(step, target, True)
        )
        process.start()
        process.join()
        whole = (target / "list.json").exists()
        assert not whole or (target / "part/a").read_text() == "new"
        (target / "notes.txt").write_text("mine")
        again = staged_folder(
            target, made=made if named else nothing, replace=False, last="list.json"
        )
        with pytest.raises(OmnijetError, match="not empty"), again as folder:
            pytest.fail(f"a file of somebody else is beside {folder}")
        (target / "notes.txt").unlink()
        if not whole:
            write(target, "again", replace=False)
        else:
            with pytest.raises(OmnijetError, match="not empty"):
                write(target, "again", replace=False)
        assert names(target) == ["list.json", "part"], step
        if process.exitcode == 0:
            break
    assert process.exitcode == 0 and step > 8
