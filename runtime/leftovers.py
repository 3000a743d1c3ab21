"""What a process must not leave behind when it is ended in the middle, and where it must not end.

Whoever makes a partial file, a folder or a process removes it himself, on any exception. But no
exception reaches a thread within a long call of another language. What is noted here can then be
removed by another thread, before it ends the process.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from omnijet.runtime.errors import OmnijetError

ATTEMPTS = 5  # to remove a folder in which another thread still writes

_temporary: list[str] = []
"""The folders among the system's temporary files that this process has made."""
_removals: dict[object, Callable[[], None]] = {}
_whole = threading.RLock()  # held during a step that must not be cut, and for ever by the end


class _Step:
    """The steps of the main thread that must not be cut."""

    depth = 0
    was_interrupted = False


@contextmanager
def leftover(remove: Callable[[], object]) -> Iterator[None]:
    """Has `remove` called if the process is ended within the block. It may fail.

    Args:
        remove: harmless if repeated; another thread calls it.
    """
    key = object()

    def removal() -> None:
        with suppress(Exception):
            remove()

    with _whole:
        _removals[key] = removal
    try:
        yield
    finally:
        with _whole:
            _removals.pop(key, None)


@contextmanager
def whole_step() -> Iterator[None]:
    """Keeps a short block whole: neither `interrupt` nor `remove_all` cuts it.

    Raises:
        KeyboardInterrupt: at the end of the block, if it was to be raised within.
    """
    is_main = threading.current_thread() is threading.main_thread()
    with _whole:
        _Step.depth += is_main
        try:
            yield
        finally:
            _Step.depth -= is_main
    if is_main and not _Step.depth and _Step.was_interrupted:
        _Step.was_interrupted = False
        raise KeyboardInterrupt


def interrupt() -> None:
    """Raises `KeyboardInterrupt`, or leaves that to the step that must not be cut.

    A signal handler calls it in the main thread.
    """
    if _Step.depth:
        _Step.was_interrupted = True
        return
    raise KeyboardInterrupt


def remove_all() -> None:
    """Removes all that was noted, what was made last first. The process must end right after.

    It waits for the end of a step that must not be cut, and no such step begins any more.
    """
    _whole.acquire()
    for removal in reversed(list(_removals.values())):
        removal()


def _forget() -> None:
    """Leaves to the parent what is the parent's: a child removes nothing of it."""
    global _whole
    _removals.clear()
    _whole = threading.RLock()  # another thread of the parent may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def remove_folder(folder: Path) -> None:
    """Removes a folder as well as it can, even while somebody still writes there."""
    for _ in range(ATTEMPTS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return


class NoTemporaryFolder(OmnijetError):
    """Temporary files cannot be written: a fault of the machine, and of no file that is read."""


def no_temporary_folder(error: OSError, parent: Path | None = None) -> NoTemporaryFolder:
    """Returns the error where a temporary file or folder cannot be made."""
    named = os.environ.get("TMPDIR")
    return NoTemporaryFolder(
        "a temporary folder cannot be made",
        where=parent or (f"TMPDIR={named}" if named else "the system's folder of temporary files"),
        expected="a folder that you may write to, on a disk with room",
        got=error.strerror or error,
        fix="free space there, or choose another folder"
        + ("" if parent else ": set TMPDIR=FOLDER in the environment"),
    )


def is_temporary(error: OSError) -> bool:
    """Returns whether an error is about temporary files."""
    if "temporary" in str(error.strerror):  # Python's own words where it finds no folder
        return True
    named = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    return any(named.startswith(made + os.sep) for made in _temporary)


@contextmanager
def temporary_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """Yields a new folder, which is gone after the block however the process ends.

    Args:
        prefix: Begins its name.
        parent: Where it is made; among the system's temporary files by default.

    Raises:
        OmnijetError: it cannot be made.
    """
    try:
        temporary = tempfile.TemporaryDirectory(prefix=prefix, dir=parent)
    except OSError as error:
        raise no_temporary_folder(error, parent) from error
    with temporary as made:
        if parent is None:
            _temporary.append(made)
        folder = Path(made)
        with leftover(lambda: remove_folder(folder)):
            yield folder
