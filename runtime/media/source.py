"""Where a medium comes from: a file, a URL that holds or names it, bytes, a file object, a pipe.

A regular file is read in its place. Everything else is read once and whole, because the decoders
need to go back and forth in it.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
import re
import select
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, TypeGuard
from urllib.parse import unquote, unquote_to_bytes

from omnijet.runtime.cancel import Check, never
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.names import shorten

Source: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO

MAX_BYTES = 1 << 30  # of what is held in memory
MOST_FILE_BYTES = 1 << 38  # decoders may read all of a file before they find nothing in it
PIECE_BYTES = 1 << 20
WAIT_MS = 100  # between two looks at whether a pipe's reader is still wanted

_REMOTE = re.compile(r"(https?|s3|gs|ftp|hf):/", re.IGNORECASE)  # Path makes one slash of two


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a source cannot be read: one phrase, what it would have to be, and a way out."""

    got: str
    expected: str = "a file on this machine"
    fix: str | None = None

    def error(self, noun: str, where: object) -> OmnijetError:
        """Returns the error to raise about a medium; `noun` is its kind."""
        return OmnijetError(
            f"the {noun} cannot be opened",
            where=where, expected=self.expected, got=self.got, fix=self.fix,
        )  # fmt: skip


_DATA_URL = "data:TYPE;base64,CONTENT"
_NO_COMMA = Fault("a data: URL without a comma", _DATA_URL)


def is_source(value: Any) -> TypeGuard[Source]:
    """Returns whether the value is one of `Source`; arrays and pictures are not."""
    if isinstance(value, str | os.PathLike | bytes | bytearray | memoryview):
        return True
    return _is_file_object(value)


def is_held(value: object) -> bool:
    """Returns whether a source keeps its content in memory, or can be read only once."""
    return not isinstance(value, str | os.PathLike) or _is_data(value) or is_pipe(value)


def is_pipe(value: str | os.PathLike[str]) -> bool:
    """Returns whether a path is that of a pipe."""
    path = _path_of(value)
    try:
        return not isinstance(path, Fault) and stat.S_ISFIFO(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def is_file(value: Source) -> bool:
    """Returns whether a source is a regular file that is there."""
    if not isinstance(value, str | os.PathLike) or _is_data(value):
        return False
    path = _path_of(value)
    return not isinstance(path, Fault) and os.path.isfile(path)


def named(value: object) -> str:
    """Names a source in messages: a path as it was given, of bytes their number."""
    if isinstance(value, str | os.PathLike):
        return shorten(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{memoryview(value).nbytes} bytes"
    name = getattr(value, "name", None) if _is_file_object(value) else None
    return shorten(name) if isinstance(name, str) else type(value).__name__


def fault_of(source: Source) -> Fault | None:
    """Returns why a source cannot be read, as far as that is seen without opening it."""
    if not isinstance(source, str | os.PathLike):
        return None
    if _is_data(source):
        return None if "," in os.fspath(source) else _NO_COMMA
    path = _path_of(source)
    return path if isinstance(path, Fault) else _path_fault(path)


def readable(source: Source, noun: str, where: object, check: Check = never) -> Path | bytes:
    """Returns the path of a regular file, and of everything else the whole content.

    Args:
        source: a path; a `file:` or `data:` URL; bytes; a file object, which is read from its
            start if it can seek, and left where it was; the path of a pipe.
        noun: the kind of medium, for messages.
        where: the place of the medium, for messages.
        check: called while a pipe has nothing to read; raises to end the wait.

    Raises:
        OmnijetError: there is nothing to read, or more than `MAX_BYTES` outside of a file.
    """
    found: Path | bytes | Fault
    try:
        if isinstance(source, str | os.PathLike):
            found = _of_text(source, check)
        elif isinstance(source, bytes | bytearray | memoryview):
            found = bytes(source)
        else:
            found = _of_file_object(source)
    except OSError as error:
        found = Fault(error.strerror or str(error))
    if found == b"":
        found = Fault("no bytes", "the content of a file")
    if isinstance(found, Fault):
        raise found.error(noun, where)
    return found


def _of_text(source: str | os.PathLike[str], check: Check) -> Path | bytes | Fault:
    if _is_data(source):
        return _of_data(source)
    path = _path_of(source)
    fault = path if isinstance(path, Fault) else _path_fault(path)
    if isinstance(path, Fault) or fault is not None:
        return fault or Fault("nothing")
    return path if os.path.isfile(path) else _of_pipe(path, check)


def _path_of(source: str | os.PathLike[str]) -> Path | Fault:
    """Returns the path that a name or a `file:` URL stands for."""
    name = os.fspath(source)
    if _REMOTE.match(name):
        return Fault(f"an address, no file: {shorten(name)}", fix="download it first")
    if name[:5].lower() != "file:":
        return Path(name) if name else Fault("an empty name")
    rest = name[5:]
    if rest.startswith("//"):
        host, slash, tail = rest[2:].partition("/")
        rest = slash + tail
        if host.lower() not in ("", "localhost") or not slash:
            return Fault(f"the machine {host!r} in {shorten(name)}", fix="write file:///FULL/PATH")
    return Path(unquote(rest)) if rest else Fault("an empty name")


def _path_fault(path: Path) -> Fault | None:
    try:
        status = os.stat(path)
        mode = status.st_mode
        if stat.S_ISDIR(mode):
            return Fault(f"a folder: {shorten(path)}", fix="name a file in it")
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            return Fault(f"a device, not a file: {shorten(path)}", fix="give a file or a pipe")
        if status.st_size > MOST_FILE_BYTES:
            limit = f"at most {MOST_FILE_BYTES >> 30} GiB"
            return Fault(f"{status.st_size:,} bytes: {shorten(path)}", limit, "cut it first")
        if os.access(path, os.R_OK):
            return None
    except PermissionError:
        pass
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return Fault(f"no file {shorten(path)}")
    return Fault(f"permission denied: {shorten(path)}", "a file that you may read")


def _is_data(source: str | os.PathLike[str]) -> bool:
    return os.fspath(source)[:5].lower() == "data:"


def _of_data(source: str | os.PathLike[str]) -> bytes | Fault:
    """Decodes `data:[type][;base64],content`."""
    head, comma, content = os.fspath(source).partition(",")
    if not comma:
        return _NO_COMMA
    if not isinstance(source, str):
        return Fault("a path", "a data: URL as a string: a path changes its slashes")
    if not head.lower().endswith(";base64"):
        return unquote_to_bytes(content) or Fault("a data: URL without content", _DATA_URL)
    try:
        packed = unquote_to_bytes(content) if "%" in content else content.encode("ascii")
        packed = packed.translate(None, b" \t\r\n\f").rstrip(b"=")
        made = base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return Fault("a data: URL whose content is no base64", _DATA_URL)
    return made or Fault("a data: URL without content", _DATA_URL)


def _of_pipe(path: Path, check: Check) -> bytes | Fault:
    """Reads a named pipe, or one end of a shell's, until its writers are gone."""
    # without O_NONBLOCK, opening would wait for a writer, and nothing could end that
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return read_pipe(descriptor, check)
    finally:
        os.close(descriptor)


def read_pipe(descriptor: int, check: Check = never) -> bytes | Fault:
    """Reads a descriptor to its end; `check` is called at least ten times a second."""
    watch = select.poll()
    watch.register(descriptor, select.POLLIN | select.POLLHUP)
    held = io.BytesIO()
    while True:
        check()
        if not watch.poll(WAIT_MS):
            continue
        try:
            piece = os.read(descriptor, PIECE_BYTES)
        except BlockingIOError:
            continue
        if not piece:
            return held.getvalue()
        held.write(piece)
        if held.tell() > MAX_BYTES:
            return _too_large("a pipe")


def _of_file_object(source: BinaryIO) -> bytes | Fault:
    """Reads a file object whole, and leaves it where it was if it can seek."""
    try:
        if isinstance(source, io.BytesIO):
            return source.getvalue()  # no copy
        try:
            before = source.tell()
            source.seek(0)
        except (AttributeError, OSError):  # io.UnsupportedOperation is an OSError, too
            return _pieces(source)
        try:
            return _pieces(source)
        finally:
            source.seek(before)
    except ValueError as error:  # it is closed
        return Fault(str(error), "an open file object")


def _pieces(source: BinaryIO) -> bytes | Fault:
    held = io.BytesIO()
    while True:
        piece: object = source.read(PIECE_BYTES)
        if not isinstance(piece, bytes | bytearray | memoryview):
            expected = "a file object that reads bytes"
            return Fault(type(piece).__name__, expected, 'open it with the mode "rb"')
        if not len(piece):
            return held.getvalue()
        held.write(piece)
        if held.tell() > MAX_BYTES:
            return _too_large("a file object")


def _too_large(what: str) -> Fault:
    limit = f"at most {MAX_BYTES:,} bytes"
    return Fault(f"more from {what}", limit, "store it in a file and give its path")


def _is_file_object(value: object) -> bool:
    return callable(getattr(value, "read", None))
