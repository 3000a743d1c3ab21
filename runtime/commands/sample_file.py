"""Where `omnijet run --pcm` writes samples while they are being made."""

from __future__ import annotations

import io
import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from omnijet.runtime.media.wav import check_writable


class SampleFile:
    """A file, a pipe or stdout that raw samples go to; use it in a `with` block.

    A regular file is opened at the first sample: if nothing is said, none is written, and what
    lay there stays. A reader waits at the other end of a pipe, so that is opened at once.

    Args:
        path: the file; "-" is stdout; None: samples go nowhere.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._open = ExitStack()
        self._file: BinaryIO | None = None
        if path == "-":
            self._file = sys.stdout.buffer
        elif path is not None and _is_pipe(path):
            self._file = self._opened(path)

    @staticmethod
    def check(path: str | None) -> None:
        """Checks before minutes of work that samples can be written. Raises `OmnijetError`."""
        if path is not None and path != "-" and not _is_pipe(path):
            check_writable(Path(path))

    def write(self, content: bytes) -> None:
        """Passes content on at once."""
        if self._path is None:
            return
        if self._file is None:
            self._file = self._opened(self._path)
        self._file.write(content)
        self._file.flush()

    def _opened(self, path: str) -> BinaryIO:
        return self._open.enter_context(io.BufferedWriter(io.FileIO(path, "w")))

    def __enter__(self) -> SampleFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()


def _is_pipe(path: str) -> bool:
    """Whether it is there and neither a regular file nor a folder."""
    found = Path(path)
    return found.exists() and not found.is_file() and not found.is_dir()
