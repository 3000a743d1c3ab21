"""Hashes a file right behind its writer, while what was written is still in memory."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from omnijet.runtime.bundle.entries import FileEntry

BLOCK_BYTES = 8 << 20


class RunningHash:
    """A context manager that hashes a file in a thread of its own, so that no disk reads it again.

    A writer may fill a part of the file in any order: it says when all before an offset is there.

    Args:
        path: The file, which exists.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._digest = hashlib.sha256()
        self._asked = self._done = 0
        self._thread = ThreadPoolExecutor(1, "omnijet-hash")
        self._waiting: list[Future[None]] = []

    def __enter__(self) -> RunningHash:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)
        os.close(self._descriptor)

    def upto(self, offset: int) -> None:
        """Says that everything before this offset is written, and stays as it is."""
        if offset > self._asked:
            self._asked = offset
            self._waiting.append(self._thread.submit(self._hash, offset))

    def entry(self) -> FileEntry:
        """Hashes the rest and returns size and hash. Raises `OSError` if the file is unreadable."""
        size = os.fstat(self._descriptor).st_size
        self.upto(size)
        for one in self._waiting:
            one.result()
        return FileEntry(size, self._digest.hexdigest())

    def _hash(self, offset: int) -> None:
        while self._done < offset:
            block = os.pread(self._descriptor, min(BLOCK_BYTES, offset - self._done), self._done)
            if not block:
                raise EOFError("a file became shorter while it was written")
            self._digest.update(block)
            self._done += len(block)


class HashedWriter:
    """A context manager that writes a file from its beginning to its end and hashes it."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "wb")  # noqa: SIM115 (closes with us)
        self._digest = hashlib.sha256()
        self._size = 0

    def __enter__(self) -> HashedWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, data: Any) -> int:
        """Writes bytes, or anything with a buffer; returns how many."""
        view = memoryview(data).cast("B")
        self._file.write(view)
        self._digest.update(view)
        self._size += len(view)
        return len(view)

    def entry(self) -> FileEntry:
        """Returns size and hash of what was written."""
        return FileEntry(self._size, self._digest.hexdigest())
