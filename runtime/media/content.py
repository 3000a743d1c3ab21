"""Opens the content of a medium for the decoders, which never see its name.

A name can mean more to a library than a file: FFmpeg reads addresses, lists and numbered
pictures of it, libsndfile looks for neighbours, and both believe its ending.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path
from typing import BinaryIO


class _File(io.BufferedReader):
    """A file without a name.

    Its methods are those of C: FFmpeg calls them where an interrupt could not be raised.
    """

    name = "medium"


def opened(source: Path | bytes) -> BinaryIO:
    """Returns a reader of a regular file, or of bytes, that knows no name.

    Raises:
        OSError: the file cannot be read, or is none since it was looked at.
    """
    if isinstance(source, bytes):
        return io.BytesIO(source)
    # what was a file may have become a pipe: opening that would wait for whoever writes
    descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "no regular file")
        return _File(io.FileIO(descriptor))
    except BaseException:
        os.close(descriptor)
        raise


def size_of(source: Path | bytes) -> int:
    """Returns the number of bytes. Raises `OSError`."""
    return len(source) if isinstance(source, bytes) else os.stat(source).st_size


def head_of(source: Path | bytes, count: int) -> bytes:
    """Returns the first bytes; none if it cannot be read."""
    try:
        with opened(source) as file:
            return file.read(count)
    except OSError:
        return b""
