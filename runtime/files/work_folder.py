"""Folders in which a command works, and those that killed commands left.

A command whose work is worth it names its folder after all that the work depends on, its key, and
puts what is finished into `DONE`. The same command goes on with that after a kill; any other one
removes it.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from omnijet.runtime.files.disk import sync_folder
from omnijet.runtime.files.names import shell_quoted
from omnijet.runtime.leftovers import leftover, remove_folder, whole_step

_log = logging.getLogger(__name__)

MARKER = "made by omnijet"
"""The file that says that a work folder is ours; it comes first and goes last."""

DONE = "done"
"""In a work folder: what is finished. Its files are worth nothing without what says so there."""

Recover = Callable[[Path], object]
"""Takes out of a work folder what must not be removed with it. It may be called again."""


@contextmanager
def work_folder(
    home: Path, prefix: str, recover: Recover, key: str | None = None
) -> Iterator[Path]:
    """Yields a folder `PREFIX-RANDOM` in `home`, new and empty; it is gone after the block.

    Such folders of killed commands are removed before. Only a folder with our marker is one. The
    caller holds the lock of what it works on.

    With a key, the folder is `PREFIX-KEY`, and `DONE` may be there from a command before with the
    same key. If the block fails for want of disk or memory, `DONE` stays, and the user is told;
    after any other error and Ctrl-C nothing does.

    Args:
        home: The folder of the new folder.
        prefix: What tells the work on one thing from that on others.
        recover: Called with each folder before it is removed; if it raises `OSError`, the folder
            stays, because better too much is left than too little.
        key: Digits and small letters.

    Raises:
        OSError: the folder cannot be made.
    """
    remove_left(home, prefix, recover, key)
    folder = _made(home, prefix, key)
    with leftover(lambda: _remove(folder, recover)):
        is_kept = False
        try:
            (folder / MARKER).touch()
            sync_folder(folder)
            sync_folder(home)  # what is moved into the folder would be lost without its name
            yield folder
        except Exception as error:
            is_kept = key is not None and _is_passing(error) and any_done(folder)
            raise
        finally:
            with whole_step():
                _remove(folder, recover, keep_done=is_kept)
            if is_kept:
                _log.warning(
                    "what was finished is kept: the same command goes on with it; without it: "
                    "rm -r %s", shell_quoted(folder),
                )  # fmt: skip


def remove_left(home: Path, prefix: str, recover: Recover, key: str | None = None) -> None:
    """Removes the work folders of killed commands, but for what is finished under the key."""
    for path in sorted(home.iterdir()):
        if is_work_folder(path, prefix):
            _remove(path, recover, keep_done=path.name == f"{prefix}-{key}" and any_done(path))
        elif is_named_so(path, prefix) and not path.is_symlink():
            with suppress(OSError):
                path.rmdir()  # killed before the marker was made; one with content is not ours


def done_bytes(home: Path, prefix: str, key: str | None) -> int:
    """Returns the size of what is finished under a key."""
    folder = home / f"{prefix}-{key}"
    if key is None or not is_work_folder(folder, prefix) or not any_done(folder):
        return 0
    return sum(path.stat().st_size for path in (folder / DONE).iterdir() if path.is_file())


def any_done(folder: Path) -> bool:
    """Returns whether anything is finished in a work folder."""
    done = folder / DONE
    return not done.is_symlink() and done.is_dir() and any(done.iterdir())


def _made(home: Path, prefix: str, key: str | None) -> Path:
    """Makes a work folder, or takes that of the key, of which only what is finished is left."""
    if key is not None:
        folder = home / f"{prefix}-{key}"
        if is_work_folder(folder, prefix):
            return folder
        with suppress(FileExistsError):  # somebody else's: it is left alone
            folder.mkdir(mode=0o700)
            return folder
    return Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=home))


def _is_passing(error: BaseException | None) -> bool:
    """Returns whether the same work may succeed later: disk, memory or another process failed."""
    while error is not None:
        if isinstance(error, OSError | MemoryError):
            return True
        error = error.__cause__
    return False


def is_work_folder(path: Path, prefix: str) -> bool:
    """Returns whether a path is a folder that a command made with this prefix."""
    marker = path / MARKER
    linked = path.is_symlink() or marker.is_symlink()
    return is_named_so(path, prefix) and not linked and marker.is_file()


def is_named_so(path: Path, prefix: str) -> bool:
    """Returns whether a path has the name of a work folder with this prefix."""
    return re.fullmatch(re.escape(prefix) + r"-[a-z0-9_]+", path.name) is not None


def _remove(folder: Path, recover: Recover, *, keep_done: bool = False) -> None:
    """Removes a work folder, its marker last: what is left of it after a kill is still ours.

    Args:
        keep_done: whether `DONE` stays, with the marker.
    """
    try:
        recover(folder)
    except OSError as error:
        _log.warning("%s stays: %s", folder, error)
        return
    with suppress(OSError):
        for path in folder.iterdir():
            if path.name == MARKER or (keep_done and path.name == DONE):
                continue
            if path.is_dir() and not path.is_symlink():
                remove_folder(path)
            else:
                path.unlink(missing_ok=True)
        if os.listdir(folder) == [MARKER]:
            (folder / MARKER).unlink()
        folder.rmdir()
