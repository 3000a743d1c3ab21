"""Says who works on a folder, so that two writers never meet in it.

The lock is a file beside the folder, held with flock(2): the system lets go of it when its process
ends, however that ends. So a file that a killed process left locks nobody out.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.disk import is_mounted
from omnijet.runtime.files.names import beside
from omnijet.runtime.leftovers import leftover

OWNER = "omnijet"
"""What our lock files say; another file of that name is not touched."""

WITHIN = ".omnijet.lock"
"""The name of a lock within a folder."""

UNLOCKABLE = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS})
FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
MOST_BYTES = 4096


@contextmanager
def working_on(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder, which need not exist yet, for the block.

    Raises:
        OmnijetError: another process works on the folder, or nobody may write there.
    """
    place = lock_file(folder)
    try:
        descriptor = _locked(place, folder)
    except OSError as error:
        raise OmnijetError(
            "the lock of the folder cannot be made",
            where=place,
            expected="a place that you may write to",
            got=error.strerror or error,
            fix="remove what is there, or put the output where you may write"
            if os.path.lexists(place)
            else "copy a bundle that is to be changed to where you may write, or write elsewhere",
        ) from error
    try:
        with leftover(place.unlink):
            yield
    finally:
        # while it is held: whoever waits for this file looks again whether it is still there
        with suppress(OSError):
            place.unlink()
        os.close(descriptor)


def lock_file(folder: Path) -> Path:
    """Returns the place of a folder's lock: beside it, and in it if it is a mounted disk."""
    home = Path(os.path.realpath(folder))
    if is_mounted(home) or (home.is_dir() and not os.access(home.parent, os.W_OK)):
        return home / WITHIN
    return beside(home, ".", ".lock")


def _locked(place: Path, folder: Path) -> int:
    """Returns the descriptor of the locked file."""
    while True:
        descriptor = os.open(place, FLAGS, 0o644)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EEXIST, "it is no regular file")
            said = os.pread(descriptor, MOST_BYTES, 0)
            # a loss of power leaves zeros of what was not written in time
            if said.strip(b"\0") and _owner(said) is None:
                raise OSError(errno.EEXIST, "a file that omnijet did not make")
            _lock(descriptor, folder, said)
            if _is_still(place, found):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, json.dumps(_ourselves()).encode() + b"\n", 0)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its owner removed it before we had it


def _lock(descriptor: int, folder: Path, said: bytes) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OmnijetError(
            "another process is at work on this folder",
            where=folder,
            got=_owner(said) or "a process that has just begun",
            fix="wait for its end",
        ) from None
    except OSError as error:
        if error.errno not in UNLOCKABLE:  # such a disk protects nobody, but is no reason to stop
            raise


def _is_still(place: Path, found: os.stat_result) -> bool:
    try:
        now = os.lstat(place)
    except FileNotFoundError:
        return False
    return (now.st_dev, now.st_ino) == (found.st_dev, found.st_ino)


def _ourselves() -> dict[str, object]:
    name = Path(sys.argv[0]).name if sys.argv else ""
    verb = " ".join([name, *sys.argv[1:2]]).strip()
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"made by": OWNER, "process": os.getpid(), "command": verb, "since": since}


def _owner(said: bytes) -> str | None:
    """Returns who a lock file says made it; None if this project did not write it."""
    try:
        fact = json.loads(said)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fact, dict) or fact.get("made by") != OWNER:
        return None
    return f"process {fact.get('process')} ({fact.get('command')}), since {fact.get('since')}"
