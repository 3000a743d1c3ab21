"""What the file system does in one step, and when it is safe from a loss of power.

A rename is one step, but reaches the disk whenever the system likes: what it names must be there
before (`sync_tree`, `sync_file`), and the folder that it changes afterwards (`sync_folder`).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
from collections.abc import Callable
from pathlib import Path

RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2  # linux/fs.h
AT_FDCWD = -100  # linux/fcntl.h
SYSCALLS = {"x86_64": 316, "aarch64": 276}
"""The numbers of renameat2, for a C library that does not know it (musl)."""

UNABLE = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM})
"""What file systems and sandboxes say that do not know a flag of renameat2."""


def is_mounted(path: Path) -> bool:
    """Returns whether a folder is a mounted disk, or a folder that is mounted there by itself."""
    if os.path.ismount(path):
        return True
    try:
        table = Path("/proc/self/mountinfo").read_bytes()
    except OSError:
        return False
    # proc_pid_mountinfo(5): the fifth field, with spaces and such as octal numbers
    place = os.fsencode(os.path.realpath(path))
    return any(_unescaped(line.split(b" ")[4]) == place for line in table.splitlines())


def _unescaped(field: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), field)


def make_folders(path: Path) -> None:
    """Makes a folder and those above it that are missing, and waits until the disk has their names.

    Raises:
        OSError: a folder cannot be made.
    """
    missing = [one for one in (path, *path.parents) if not one.is_dir()]
    for one in reversed(missing):
        one.mkdir(exist_ok=True)
        sync_folder(one.parent)


def sync_file(path: Path) -> None:
    """Waits until a file's content is on the disk. Raises `OSError`; also if it is a link."""
    _sync(path, os.O_RDONLY | os.O_NOFOLLOW)


def sync_folder(path: Path) -> None:
    """Waits until the names in a folder, or in that behind a link, are on the disk.

    Raises:
        OSError: it is no folder, or the disk fails.
    """
    try:
        _sync(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EACCES):  # FUSE and SMB sync no folders
            raise


def sync_tree(folder: Path) -> None:
    """Waits until a folder and all that is in it are on the disk; links are not followed.

    Raises:
        OSError: something cannot be written.
    """
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            path = Path(place, name)
            if not path.is_symlink() and path.is_file():
                sync_file(path)
        sync_folder(Path(place))


def rename_new(source: Path, target: Path) -> None:
    """Renames a file or folder, but replaces nothing.

    Raises:
        FileExistsError: something is at `target`, be it a link to nothing.
        OSError: the rename is impossible.
    """
    code = _renameat2(source, target, RENAME_NOREPLACE)
    if not code:
        return
    if code not in UNABLE:
        raise OSError(code, os.strerror(code), os.fspath(target))
    # no file system can do this in one step for folders without the flag; rename(2) replaces
    # nothing but a file or an empty folder that appears right now
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(target))
    if source.is_dir() and not source.is_symlink():
        os.rename(source, target)
        return
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in UNABLE:
            raise
        os.rename(source, target)  # the disk has no links at all
    else:
        os.unlink(source)


def exchange(one: Path, other: Path) -> bool:
    """Swaps two files or folders in one step; returns False where the file system cannot.

    Raises:
        OSError: one of them is missing, or the swap is impossible.
    """
    code = _renameat2(one, other, RENAME_EXCHANGE)
    if code and code not in UNABLE:
        raise OSError(code, os.strerror(code), os.fspath(other))
    return not code


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _renameat2(source: Path, target: Path, flag: int) -> int:
    """Calls renameat2(2); returns 0 or an error number."""
    call = _call()
    if call is None:
        return errno.ENOSYS
    names = os.fsencode(source), os.fsencode(target)
    return ctypes.get_errno() if call(AT_FDCWD, names[0], AT_FDCWD, names[1], flag) else 0


def _call() -> Callable[[int, bytes, int, bytes, int], int] | None:
    library = ctypes.CDLL(None, use_errno=True)
    kinds = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    try:
        named = library.renameat2
    except AttributeError:
        number = SYSCALLS.get(platform.machine())
        if number is None:
            return None
        general = library.syscall
        general.argtypes = (ctypes.c_long, *kinds)
        return lambda *args: int(general(number, *args))
    named.argtypes = kinds
    return lambda *args: int(named(*args))
