"""What a process must not leave behind when it is ended in the middle, and where it must not end.

Whoever makes a partial file, a folder or a process removes it himself, on any exception. But no
exception reaches a thread within a long call of another language. What is noted here can then be
removed by another thread, before it ends the process.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ATTEMPTS = 5  # to remove a folder in which another thread still writes

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


def remove_folder(folder: Path) -> None:
    """Removes a folder as well as it can, even while somebody still writes there."""
    for _ in range(ATTEMPTS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return


@contextmanager
def temporary_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """Yields a new folder, which is gone after the block however the process ends."""
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent) as made:
        folder = Path(made)
        with leftover(lambda: remove_folder(folder)):
            yield folder
