"""Where links of a bundle may lead: nowhere but into a cache of Hugging Face's hub."""

from __future__ import annotations

from pathlib import Path

BLOBS, SNAPSHOTS = "blobs", "snapshots"


def strays(path: Path) -> Path | None:
    """Returns where a file's own link leads, out of the file's folder; None: it stays.

    The hub's cache keeps each file of a snapshot as a link into a folder `blobs` beside the folder
    `snapshots`: such links are allowed. A folder above that is a link is no matter.
    """
    if not path.is_symlink():
        return None
    real = path.resolve()
    if real.parent == path.parent.resolve() or is_blob(real):
        return None
    return real


def is_blob(real: Path) -> bool:
    """Returns whether a path without links is a file of a hub's cache."""
    return real.parent.name == BLOBS and real.parent.with_name(SNAPSHOTS).is_dir()
