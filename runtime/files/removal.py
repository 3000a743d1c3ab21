"""Removes what this project made, and nothing else."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path, PurePosixPath

BELOW = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_named(folder: Path, names: Collection[str]) -> list[str]:
    """Removes the named files of a folder one by one, and then each folder that is empty.

    No link is followed: of a link, the link is removed. What is not named stays. The files at the
    top come last, in their order: a list among them that names all files stays as long as any.

    Args:
        folder: The folder, which is removed as well if nothing is left in it.
        names: Files as `part/part/file`.

    Returns:
        What stayed in the folder.

    Raises:
        OSError: a file cannot be removed.
    """
    root = os.open(folder, BELOW)
    try:
        paths = [PurePosixPath(name) for name in names]
        for path in paths:
            if len(path.parts) > 1:
                _remove(root, path.parts)
        emptied = {parent for path in paths for parent in path.parents if parent.parts}
        for parent in sorted(emptied, key=lambda one: -len(one.parts)):
            _remove_folder(root, parent.parts)
        for path in paths:
            if len(path.parts) == 1:
                _remove(root, path.parts)
    finally:
        os.close(root)
    stayed = content(folder)
    if not stayed:
        with suppress(OSError):  # a file appeared just now, or the folder is a mounted disk
            os.rmdir(folder)
    return stayed


def content(folder: Path) -> list[str]:
    """Returns the names of all that is below a folder; of folders only the empty ones."""
    found = []
    for place, folders, files in os.walk(folder):
        here = Path(place)
        links = [name for name in folders if (here / name).is_symlink()]
        found += [(here / name).relative_to(folder).as_posix() for name in (*files, *links)]
        if here != folder and not folders and not files:
            found.append(here.relative_to(folder).as_posix())
    return sorted(found)


def _remove(root: int, parts: tuple[str, ...]) -> None:
    """Removes one file or link below the folder `root`."""
    parent = _opened(root, parts[:-1])
    if parent is None:
        return
    try:
        mode = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False).st_mode
        if stat.S_ISREG(mode) or stat.S_ISLNK(mode):
            os.unlink(parts[-1], dir_fd=parent)
    except FileNotFoundError:
        pass
    finally:
        os.close(parent)


def _remove_folder(root: int, parts: tuple[str, ...]) -> None:
    parent = _opened(root, parts[:-1])
    if parent is None:
        return
    try:
        with suppress(OSError):  # it is not empty, a link, or gone
            os.rmdir(parts[-1], dir_fd=parent)
    finally:
        os.close(parent)


def _opened(root: int, parts: tuple[str, ...]) -> int | None:
    """Opens a folder below `root` without following a link; None: there is no such folder."""
    here = os.dup(root)
    for part in parts:
        try:
            if part in ("..", "/"):  # both lead out of the folder
                return None
            below = os.open(part, BELOW, dir_fd=here)
        except OSError:
            return None
        finally:
            os.close(here)
        here = below
    return here
