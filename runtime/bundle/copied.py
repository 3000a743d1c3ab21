"""Copies a file of a bundle, and hashes it on the way, so that it is read once."""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path

from omnijet.runtime.bundle.entries import FileEntry
from omnijet.runtime.bundle.manifest import hash_file
from omnijet.runtime.errors import OmnijetError

FICLONE = 0x40049409  # linux/fs.h
BLOCK_BYTES = 8 << 20


def copy_as_named(source: Path, target: Path, entry: FileEntry) -> None:
    """Copies a file that a manifest names; a disk that shares blocks (Btrfs, XFS) writes nothing.

    Raises:
        OmnijetError: the file is not the one that the manifest names.
        OSError: the copy cannot be written.
    """
    found = _copied(source, target)
    if found != entry:
        raise OmnijetError(
            "a file of the bundle is not the one that its manifest names",
            where=source,
            expected=f"sha256 {entry.sha256[:16]}…, {entry.bytes} bytes",
            got=f"sha256 {found.sha256[:16]}…, {found.bytes} bytes",
            fix="run `omnijet check` on the bundle; copy or export it again",
        )


def _copied(source: Path, target: Path) -> FileEntry:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with open(source, "rb", buffering=0) as read, open(target, "wb", buffering=0) as written:
        try:
            fcntl.ioctl(written.fileno(), FICLONE, read.fileno())
        except OSError:  # most disks cannot
            while block := read.read(BLOCK_BYTES):
                digest.update(block)
                size += len(block)
                view = memoryview(block)
                while view:
                    view = view[os.write(written.fileno(), view) :]
            return FileEntry(size, digest.hexdigest())
    return hash_file(target)
