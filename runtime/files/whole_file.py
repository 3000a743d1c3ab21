"""Files that are written completely or not at all."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.disk import sync_folder
from omnijet.runtime.leftovers import leftover

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
PARTIAL = re.compile(r"\.omnijet-[0-9a-f]{16}\.partial")
"""The name of a file that is being written."""


def write_whole(path: Path, content: bytes, *, follow_link: bool = True) -> None:
    """Writes a temporary file beside the target, waits for the disk, and renames it.

    A loss of power or a kill leaves the old file or the new one. Devices and pipes are written
    directly.

    Args:
        path: The file to write.
        content: All that it will hold.
        follow_link: Whether a link at `path` is followed, as a user's own output is. Otherwise
            the link itself is replaced: a bundle's file never leads out of the bundle.

    Raises:
        OSError: the file cannot be written; nothing is left behind.
    """
    with writing_whole(path, follow_link=follow_link) as file:
        file.write(content)


@contextmanager
def writing_whole(path: Path, *, follow_link: bool = True) -> Iterator[IO[bytes]]:
    """Yields a new file, which becomes `path` when the block succeeds; see `write_whole`.

    Raises:
        OSError: the file cannot be written; nothing is left behind.
    """
    # the folder may be behind a link in any case
    unfollowed = Path(os.path.realpath(path.parent), path.name)
    target = Path(os.path.realpath(path)) if follow_link else unfollowed
    if follow_link and _is_special(target):
        with target.open("wb") as file:
            yield file
        return
    with _beside(target) as (beside, descriptor):
        with open(descriptor, "wb", closefd=False) as file:
            if target.is_file() and not target.is_symlink():
                os.fchmod(descriptor, target.stat().st_mode & 0o777)
            yield file
            file.flush()
            os.fsync(descriptor)
        os.replace(beside, target)
    sync_folder(target.parent)


def check_writable(path: Path) -> None:
    """Checks before minutes of work that their result can be written.

    Raises:
        OmnijetError: the file cannot be written.
    """
    got = None
    try:
        target = Path(os.path.realpath(path))
        if target.is_dir():
            got = "a folder"
        elif not target.parent.is_dir():
            got = f"no folder {target.parent}"
        elif not _is_special(target):
            target.with_name(target.name).exists()  # raises on a name that no file can have
            with _beside(target):
                pass
    except (OSError, ValueError) as error:
        got = getattr(error, "strerror", None) or str(error)
    if got is not None:
        raise OmnijetError(
            "the output file cannot be written",
            where=path,
            expected="a file in a folder that exists and that you may write to",
            got=got,
        )


@contextmanager
def _beside(target: Path) -> Iterator[tuple[Path, int]]:
    """Yields a new file beside the target and its descriptor; it is gone after the block.

    It is locked as long as somebody writes it: those of killed processes are removed here.
    """
    _sweep(target.parent)
    while True:
        beside = target.with_name(f".omnijet-{secrets.token_hex(8)}.partial")
        with leftover(partial(beside.unlink, missing_ok=True)):
            descriptor = os.open(beside, NEW, 0o666)
            try:
                with suppress(OSError):  # a disk without locks: nobody else removes it there
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_nlink:
                    yield beside, descriptor
                    return
            finally:
                os.close(descriptor)
                beside.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Removes from a folder the files that killed processes did not finish to write."""
    with suppress(OSError), os.scandir(folder) as found:
        for one in found:
            if PARTIAL.fullmatch(one.name) and one.is_file(follow_symlinks=False):
                with suppress(OSError):
                    _remove_unlocked(one.path)


def _remove_unlocked(path: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(descriptor)


def _is_special(target: Path) -> bool:
    return target.exists() and not target.is_file()
