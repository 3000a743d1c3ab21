"""Tests what is removed when a process is ended in the middle, and what is not cut."""

from __future__ import annotations

import errno
import tempfile
import threading
from pathlib import Path

import pytest

from omnijet.runtime import leftovers
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.leftovers import (
    interrupt,
    is_temporary,
    leftover,
    no_temporary_folder,
    temporary_folder,
    whole_step,
)


@pytest.fixture(autouse=True)
def nothing_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has notes and a lock of its own: `remove_all` never lets go of it."""
    monkeypatch.setattr(leftovers, "_removals", {})
    monkeypatch.setattr(leftovers, "_whole", threading.RLock())


def fail() -> None:
    raise OSError("gone already")


def test_what_was_made_last_goes_first() -> None:
    gone: list[str] = []
    with leftover(lambda: gone.append("first")), leftover(fail):
        with leftover(lambda: gone.append("ended")):
            pass
        with leftover(lambda: gone.append("last")):
            leftovers.remove_all()
    assert gone == ["last", "first"]


def test_a_temporary_folder_goes_either_way(tmp_path: Path) -> None:
    with temporary_folder("one-", tmp_path) as folder:
        (folder / "file").touch()
    assert not folder.exists()
    with temporary_folder("two-", tmp_path) as folder:
        (folder / "file").touch()
        leftovers.remove_all()
        assert not folder.exists()


def test_without_a_temporary_folder_the_way_out_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "none")])
    with pytest.raises(OmnijetError, match="TMPDIR=FOLDER"), temporary_folder("t-"):
        pass
    with pytest.raises(OmnijetError) as caught, temporary_folder("t-", tmp_path / "none"):
        pass
    assert caught.value.where == tmp_path / "none" and "TMPDIR" not in str(caught.value.fix)


def test_errors_about_temporary_files_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with temporary_folder("t-") as made:
        full = OSError(errno.ENOSPC, "No space left on device", str(made / "weights"))
    assert is_temporary(full) and "No space" in str(no_temporary_folder(full).got)
    assert not is_temporary(OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "out")))
    assert not is_temporary(OSError(errno.ENOSPC, "No space left on device"))


def test_an_interrupt_waits_for_the_end_of_a_step() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt), whole_step():
        with whole_step():
            interrupt()
            done.append("inner")
        done.append("outer")
    assert done == ["inner", "outer"]
    with whole_step():
        pass
    with pytest.raises(KeyboardInterrupt):
        interrupt()


def test_the_end_waits_for_a_step_and_none_begins_after_it() -> None:
    order: list[str] = []
    removed, ended = threading.Event(), threading.Event()

    def end() -> None:
        leftovers.remove_all()
        removed.set()
        ended.wait(60)  # the lock is the thread's as long as it lives

    with leftover(lambda: order.append("removed")):
        with whole_step():
            threading.Thread(target=end, daemon=True).start()
            assert not removed.wait(0.05)
            order.append("whole")
        assert removed.wait(60)
        late = threading.Thread(target=_step, args=(order,), daemon=True)
        late.start()
        late.join(0.05)
        found = list(order)
        leftovers._whole = threading.RLock()
    assert found == ["whole", "removed"]
    ended.set()


def _step(order: list[str]) -> None:
    with whole_step():
        order.append("late")
