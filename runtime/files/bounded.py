"""Reads whole files from strangers: regular ones only, and no more than a number of bytes."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

_PIECE = 1 << 20


class BadFile(ValueError):
    """A file whose content is refused; its message is one phrase for `got`."""


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """Reads a regular file, or one that links lead to.

    Raises:
        OSError: the file cannot be read.
        BadFile: it is larger, or a pipe, a device, a socket or a folder.
    """
    pieces: list[bytes] = []
    left = most_bytes + 1  # the size is no promise: the file may grow, and /proc has no sizes
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most_bytes:
            raise BadFile(f"{size:,} bytes, more than {most_bytes:,}")
        while left > 0 and (piece := file.read(min(left, max(size + 1, _PIECE)))):
            pieces.append(piece)
            left -= len(piece)
    if left <= 0:
        raise BadFile(f"more than {most_bytes:,} bytes")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def open_regular(path: Path) -> io.FileIO:
    """Opens a regular file, or one that links lead to, without a buffer.

    Raises:
        OSError: the file cannot be opened.
        BadFile: it is a pipe, a device, a socket or a folder.
    """
    # opening a pipe would wait for its writer without O_NONBLOCK; regular files do not know it
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except ValueError as error:  # a NUL in the name
        raise BadFile(f"a name that no file can have ({error})") from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise BadFile(f"{_kind(mode)}, not a regular file")
    return io.FileIO(descriptor, "rb")


def read_bounded_text(path: Path, most_bytes: int) -> str:
    """Reads a regular file of UTF-8 text, without a byte order mark.

    Raises:
        OSError: the file cannot be read.
        BadFile: as `read_bounded` says, or it is no UTF-8.
    """
    return utf8(read_bounded(path, most_bytes))


def utf8(content: bytes) -> str:
    """Decodes text; raises `BadFile` if it is no UTF-8 or starts with a byte order mark."""
    if content.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise BadFile("a byte order mark; it must be saved as UTF-8 without one")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadFile(f"no UTF-8: byte 0x{content[error.start]:02x} at {error.start}") from error


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFDIR: "a folder",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")
