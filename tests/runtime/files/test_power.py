"""A loss of power at any moment leaves the old output or the new one, whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from omnijet.runtime.files import staging, swap, work_folder
from omnijet.runtime.files.staging import nothing
from omnijet.runtime.files.whole_file import write_whole
from tests.runtime.files.power import Tree, below, cuts, events, record, tree
from tests.runtime.files.test_staging import mount, write


def whole(text: str) -> Tree:
    """Returns the output that `fill` makes."""
    return {"part": None, "part/a": text.encode(), "list.json": b'["part/a"]'}


def cut(
    home: Path, work: Callable[[], object], able: bool = True, least: int = 1
) -> list[tuple[int, Tree]]:
    """Does the work over what is in a folder; returns all that may be there after a cut."""
    before, log = tree(home), home.with_suffix(".log")
    assert record(log, work, able=able) == 0
    assert len(events(log)) >= least
    return [*cuts(home, before, log)]


def test_a_replaced_output(tmp_path: Path) -> None:
    home = tmp_path / "home"
    write(home / "out", "old")
    found = []
    for number, state in cut(home, lambda: write(home / "out", "new"), least=20):
        found.append(below(state, "out"))
        assert found[-1] in (whole("old"), whole("new")), number
    assert whole("old") in found and found[-1] == whole("new")


def test_an_output_where_nothing_was(tmp_path: Path) -> None:
    """Nor does its name get lost with the names of the folders above it, once it is said done."""
    home = tmp_path / "home"
    home.mkdir()
    states = cut(home, lambda: write(home / "a/b/out", "new", replace=False))
    for number, state in states:
        assert below(state, "a/b/out") in (None, whole("new")), number
        assert number < states[-1][0] or below(state, "a/b/out") == whole("new")


def test_a_disk_that_cannot_swap(tmp_path: Path) -> None:
    """The old output may be in the work folder, from which the next run puts it back."""
    home = tmp_path / "home"
    write(home / "out", "old")
    between = 0
    for number, state in cut(home, lambda: write(home / "out", "new"), able=False):
        if (there := below(state, "out")) is not None:
            assert there in (whole("old"), whole("new")), number
            continue
        between += 1
        (work,) = [name for name in state if name.startswith(".out.work-") and "/" not in name]
        assert below(state, f"{work}/{swap.OLD}") == whole("old"), number
        assert f"{work}/{work_folder.MARKER}" in state
        assert json.loads(state[f"{work}/{swap.SWAPPING}"] or b"")["files"], number
    assert between


def test_a_mounted_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file without which an output is nothing comes after all others."""
    home = tmp_path / "home"
    home.mkdir()
    mount(monkeypatch, home)
    states = cut(home, lambda: write(home, "new", replace=False))
    for number, state in states:
        if "list.json" in state:
            assert {k: v for k, v in state.items() if not k.startswith(".")} == whole("new"), number
    assert "list.json" in states[-1][1]


@pytest.mark.parametrize("able", [True, False])
def test_a_kill_and_then_a_loss_of_power(tmp_path: Path, able: bool) -> None:
    """The run after a kill removes nothing that could come back to the place of the output."""
    record(tmp_path / "log", lambda: _old_and_new(tmp_path / "0"), able=able)
    for step in range(12, len(events(tmp_path / "log")), 5):
        home = tmp_path / str(step + 1)
        write(home / "out", "old")
        before, log = tree(home), home.with_suffix(".log")
        record(log, lambda home=home: write(home / "out", "new"), step, able)  # type: ignore[misc]
        record(log, lambda home=home: write(home / "out", "newer"), able=able)  # type: ignore[misc]
        for number, state in cuts(home, before, log):
            there = below(state, "out")
            if able or there is not None:
                assert there in (whole("old"), whole("new"), whole("newer")), (step, number)
            else:
                olds = [below(state, f"{name}/{swap.OLD}") for name in state if "/" not in name]
                assert whole("old") in olds or whole("new") in olds, (step, number)


def _old_and_new(home: Path) -> None:
    write(home / "out", "old")
    write(home / "out", "new")


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_file(tmp_path: Path, old: bytes | None) -> None:
    home = tmp_path / "home"
    home.mkdir()
    if old is not None:
        (home / "file").write_bytes(old)
    states = cut(home, lambda: write_whole(home / "file", b"new"))
    assert {state.get("file") for _, state in states} == {old, b"new"}
    assert states[-1][1] == {"file": b"new"}


@pytest.mark.parametrize("name", ["sync_tree", "sync_folder"])
def test_a_missing_sync_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The model is worth something."""
    home = tmp_path / "home"
    write(home / "out", "old")
    monkeypatch.setattr(swap, name, nothing)
    states = cut(home, lambda: write(home / "out", "new"))
    outs = [below(state, "out") for _, state in states]
    assert any(out not in (whole("old"), whole("new")) for out in outs)


def test_folders_that_nobody_syncs_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setattr(staging, "make_folders", lambda path: path.mkdir(parents=True))
    states = cut(home, lambda: write(home / "a/out", "new", replace=False))
    assert any(below(state, "a/out") is None for number, state in states if number == states[-1][0])
