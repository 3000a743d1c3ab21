"""Where `omnijet run --pcm` writes samples while they are being made."""

from __future__ import annotations

import io
import os
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from omnijet.runtime.bundle.output import require_outside
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.leftovers import leftover

_KEPT = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC  # and not O_TRUNC


class SampleFile:
    """A file, a pipe or stdout that raw samples go to; use it in a `with` block.

    A regular file is opened at once and emptied at the first sample: if nothing is said, what lay
    there stays, and a file that was not there is gone again. Links are followed.

    Args:
        path: the file; "-" is stdout; None: samples go nowhere.

    Raises:
        OmnijetError: the file cannot be written, or stdout is closed.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._open = ExitStack()
        self._file: BinaryIO | io.FileIO | None = None
        self._is_fresh = True
        if path == "-":
            self._file = _stdout()
        elif path is not None and not _is_pipe(path):
            self._file = self._kept(path)

    def connect(self) -> None:
        """Opens a pipe or a device; of a pipe it waits until somebody reads the other end."""
        if self._file is None and self._path is not None:
            self._file = self._opened(self._path)
            self._is_fresh = False

    def write(self, content: bytes) -> None:
        """Passes content on at once.

        Raises:
            OSError: it cannot be written; with the name of the file.
        """
        if self._file is None:
            return
        try:
            if self._is_fresh and self._path != "-":
                self._file.truncate(0)
            self._is_fresh = False
            rest = memoryview(content)
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
            self._file.flush()
        except OSError as error:
            error.filename = self._path
            raise

    def _kept(self, path: str) -> io.FileIO:
        """Opens a regular file and leaves in it what it has."""
        require_outside(Path(path))
        try:
            target = os.path.realpath(path)
            try:
                descriptor = os.open(target, _KEPT | os.O_EXCL, 0o666)
            except FileExistsError:
                return self._opened(os.open(target, _KEPT))
        except (OSError, ValueError) as error:
            raise OmnijetError(
                "the output file cannot be written",
                where=path,
                expected="a file in a folder that exists and that you may write to",
                got=getattr(error, "strerror", None) or str(error),
            ) from error
        made = os.fstat(descriptor)

        def remove_unused() -> None:
            with suppress(OSError):  # somebody else removed or replaced it
                if self._is_fresh and os.path.samestat(made, os.stat(target)):
                    os.unlink(target)

        self._open.enter_context(leftover(remove_unused))
        self._open.callback(remove_unused)
        return self._opened(descriptor)

    def _opened(self, file: str | int) -> io.FileIO:
        # without a buffer: what is left in one would fail once more where the file is closed
        return self._open.enter_context(io.FileIO(file, "w"))

    def __enter__(self) -> SampleFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()


def _stdout() -> BinaryIO:
    if sys.stdout is None:
        raise OmnijetError(
            "stdout is closed", where="--pcm -", fix="pipe it to a player, or give --pcm a file"
        )
    return sys.stdout.buffer


def _is_pipe(path: str) -> bool:
    """Whether it is there and neither a regular file nor a folder."""
    try:
        found = Path(path)
        return found.exists() and not found.is_file() and not found.is_dir()
    except (OSError, ValueError):  # a name that no file can have
        return False
