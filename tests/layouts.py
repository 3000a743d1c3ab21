"""Folders as they lie on people's disks: hard-linked copies, and snapshots of a hub's cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

Layout = Callable[[Path, Path], Path]
"""Makes a copy of a folder below another, and returns it."""


def hard_linked(source: Path, home: Path) -> Path:
    """Does what `cp -al` does."""
    return Path(shutil.copytree(source, home / "hard", copy_function=os.link))


def snapshot(source: Path, home: Path) -> Path:
    """Makes a cache of the hub: each file is a link to a blob."""
    cache = home / "models--someone--model"
    blobs, folder = cache / "blobs", cache / "snapshots" / "0123abc"
    blobs.mkdir(parents=True)
    for number, path in enumerate(sorted(path for path in source.rglob("*") if path.is_file())):
        place, blob = folder / path.relative_to(source), blobs / f"{number:064x}"
        shutil.copy(path, blob)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(os.path.relpath(blob, place.parent))
    return folder


def linked_snapshot(source: Path, home: Path) -> Path:
    """Makes a link to the folder of a cache of the hub."""
    link = home / "linked"
    link.symlink_to(snapshot(source, home))
    return link


LAYOUTS: Mapping[str, Layout] = {
    "hard": hard_linked,
    "snapshot": snapshot,
    "link": linked_snapshot,
}


def contents(folder: Path) -> dict[str, bytes]:
    """Returns all files below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def inodes(folder: Path) -> set[int]:
    """Returns the inodes of all files below a folder."""
    return {path.stat().st_ino for path in folder.rglob("*") if path.is_file()}
