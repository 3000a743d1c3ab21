"""Tells what lies in a bundle and is no part of it: no file is read, and no link is followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from omnijet.runtime.bundle.manifest_rules import FILE_NAME, SIGNATURE
from omnijet.runtime.files.lock import WITHIN
from omnijet.runtime.files.printable import printable

OURS = frozenset({FILE_NAME, SIGNATURE, WITHIN})
"""The files of a bundle that its manifest cannot list."""

MOST_SHOWN = 100


def strays(folder: Path, files: Collection[str]) -> list[str]:
    """Returns one line for each file, folder or link that is not in the manifest.

    A listed file may be a link to a file, as in the cache of the Hugging Face hub. A folder may be
    no link: whoever made the link can swap all that is behind it.

    Args:
        folder: The bundle.
        files: The names of the files that the manifest lists.
    """
    folders = {str(parent) for name in files for parent in PurePosixPath(name).parents}
    found = [printable(line) for line in _strays(folder, "", frozenset(files) | OURS, folders)]
    more = len(found) - MOST_SHOWN
    return found[:MOST_SHOWN] + ([f"{more} more are not in the manifest"] if more > 0 else [])


def _strays(
    folder: Path, inside: str, files: Collection[str], folders: Collection[str]
) -> Iterator[str]:
    try:
        with os.scandir(folder / inside) as opened:
            entries = sorted(opened, key=lambda entry: entry.name)
    except OSError as error:
        yield f"{inside or folder}: {error.strerror or error}"
        return
    for entry in entries:
        name = f"{inside}/{entry.name}" if inside else entry.name
        if entry.is_dir(follow_symlinks=False):
            if name in folders:
                yield from _strays(folder, name, files, folders)
            else:
                yield f"{name}/: not in the manifest ({_held(Path(entry.path))})"
        elif name in folders:
            yield f"{name}: expected a folder, got {_kind(entry)}"
        elif name not in files:
            what = _kind(entry)
            yield f"{name}: not in the manifest" + ("" if what == "a file" else f" ({what})")


def _kind(entry: os.DirEntry[str]) -> str:
    """Says what an entry is that is no folder."""
    if entry.is_symlink():
        if entry.is_dir():
            return "a link to a folder"
        return "a link" if entry.is_file() else "a link to nothing"
    mode = entry.stat(follow_symlinks=False).st_mode
    kinds = {stat.S_IFREG: "a file", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _held(folder: Path) -> str:
    """Says how many files a folder holds."""
    count = sum(len(names) for _, _, names in os.walk(folder))
    return "1 file" if count == 1 else f"{count} files" if count else "empty"
