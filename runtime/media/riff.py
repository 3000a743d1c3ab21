"""Repairs the header of a WAV file that was written while nobody knew its length.

A recorder that writes into a pipe cannot go back: the size of the samples stays 0, or is larger
than what follows. libsndfile believes a 0, and FFmpeg believes that of RF64.
"""

from __future__ import annotations

import io
import os
import struct
from typing import BinaryIO

Patches = dict[int, bytes]

MAGICS = (b"RIFF", b"RF64", b"BW64")
_UNKNOWN = 0xFFFFFFFF
MAX_CHUNKS = 1000


def patches_of(file: BinaryIO) -> Patches:
    """Returns the bytes to replace, by offset, so that all samples are read; none for most files.

    The file may be of any kind, and is left at its start.
    """
    try:
        length = file.seek(0, os.SEEK_END)
        file.seek(0)
        magic, _, kind = struct.unpack("<4sI4s", file.read(12))
        if magic not in MAGICS or kind != b"WAVE":
            return {}
        return _patches(file, length)
    except struct.error:  # the file ends within a header
        return {}
    finally:
        file.seek(0)


def rate_of(file: BinaryIO) -> int | None:
    """Returns the sample rate that the header of a WAV file says; None if there is none."""
    try:
        file.seek(0)
        magic, _, kind = struct.unpack("<4sI4s", file.read(12))
        if magic not in MAGICS or kind != b"WAVE":
            return None
        for _ in range(MAX_CHUNKS):
            name, size = struct.unpack("<4sI", file.read(8))
            if name == b"fmt ":
                return int(struct.unpack("<HHI", file.read(8))[2])
            file.seek(size + size % 2, os.SEEK_CUR)
    except (struct.error, OSError):
        pass
    return None


def _patches(file: BinaryIO, length: int) -> Patches:
    sizes: int | None = None  # where RF64 keeps its sizes, of 64 bits
    for _ in range(MAX_CHUNKS):
        start = file.tell()
        name, size = struct.unpack("<4sI", file.read(8))
        rest = length - start - 8
        if name == b"ds64":
            sizes = start + 8
        if name == b"data":
            if sizes is not None and size == _UNKNOWN:
                file.seek(sizes + 8)
                (size,) = struct.unpack("<Q", file.read(8))
                if 0 < size <= rest:
                    return {}
                return {sizes: struct.pack("<QQQ", length - 8, rest, 0)}
            if size or not rest or _are_chunks(file, length):
                return {}
            return {start + 4: struct.pack("<I", min(rest, _UNKNOWN - 1))}
        file.seek(start + 8 + size + size % 2)
    return {}


def _are_chunks(file: BinaryIO, length: int) -> bool:
    """Returns whether chunks fill the rest of the file: then it has no samples indeed."""
    for _ in range(MAX_CHUNKS):
        if length - file.tell() < 8:
            return file.tell() >= length
        name, size = struct.unpack("<4sI", file.read(8))
        if not (name.isascii() and name.decode("ascii").isprintable()):
            return False
        file.seek(size + size % 2, os.SEEK_CUR)
    return False


class Patched(io.RawIOBase):
    """A file, read with some of its bytes replaced. It has no name that says what it holds."""

    def __init__(self, file: BinaryIO, patches: Patches) -> None:
        self._file = file
        self._patches = patches

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        start = self._file.tell()
        found = self._file.read(len(buffer))
        held = bytearray(found)
        for offset, new in self._patches.items():
            for place, value in enumerate(new, start=offset - start):
                if 0 <= place < len(held):
                    held[place] = value
        buffer[: len(held)] = held
        return len(held)
