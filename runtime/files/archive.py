"""Unpacks zip archives of strangers: within a folder, within bounds, files only."""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from omnijet.runtime.files.bounded import BadFile, open_regular
from omnijet.runtime.files.printable import one_line

MOST_BYTES = 4 << 30
"""Of all files of an archive together."""
MOST_FILES = 100_000
PIECE_BYTES = 1 << 20
SHOWN_FAULTS = 5

UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)
"""What is raised of an archive that is damaged, encrypted, too large, or not one."""

_END_BYTES, _LOCATOR_BYTES, _LARGE_END_BYTES = 22, 20, 56
_LISTED = 256  # bytes of the list of members for each: 46, its name, and what else is written
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def unpack(archive: Path, folder: Path) -> None:
    """Writes all files of an archive below an empty folder of ours.

    Raises:
        UNREADABLE: the archive cannot be read, or is refused; nothing is written then.
    """
    with open_regular(archive) as opened:
        check_list(opened, MOST_FILES)
        _unpack(opened, folder)


def _unpack(opened: BinaryIO, folder: Path) -> None:
    with zipfile.ZipFile(opened) as file:
        entries = file.infolist()
        _require_harmless(entries)
        for entry in entries:
            place = folder / entry.filename
            if entry.is_dir():
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            with file.open(entry) as packed, open(place, "xb") as made:
                while piece := packed.read(PIECE_BYTES):
                    made.write(piece)


def check_list(file: BinaryIO, most_members: int) -> None:
    """Refuses an archive by the length of its list of members: zipfile makes an object of each.

    Raises:
        BadFile: there are more, or it is no whole zip file, with nothing behind its end.
    """
    size = file.seek(0, io.SEEK_END)
    start = max(0, size - _END_BYTES - _LOCATOR_BYTES)
    file.seek(start)
    locator, end = file.read(_LOCATOR_BYTES), file.read()
    # with something behind the end, other readers may find another archive
    if size < _END_BYTES + _LOCATOR_BYTES or end[:4] != b"PK\x05\x06":
        raise BadFile("no zip file, or one that is cut off or has something behind its end")
    listed = int.from_bytes(end[12:16], "little")
    if locator[:4] == b"PK\x06\x07":
        place = start - _LARGE_END_BYTES
        if place != int.from_bytes(locator[8:16], "little"):
            raise BadFile("a zip file whose end is elsewhere")
        file.seek(place)
        listed = int.from_bytes(file.read(_LARGE_END_BYTES)[40:48], "little")
    if listed > most_members * _LISTED:
        raise BadFile(f"a list of members of {listed:,} bytes; at most {most_members:,} are read")


def _require_harmless(entries: Sequence[zipfile.ZipInfo]) -> None:
    """Raises `ValueError` that names what an archive of ours never has."""
    if len(entries) > MOST_FILES:
        raise ValueError(f"{len(entries):,} files, of at most {MOST_FILES:,}")
    total = sum(entry.file_size for entry in entries)
    if total > MOST_BYTES:
        raise ValueError(f"{total:,} bytes when unpacked, of at most {MOST_BYTES:,}")
    faults, seen = [], set()
    for entry in entries:
        name = entry.filename
        fault = _fault(entry) or ("is there twice" if name in seen else None)
        seen.add(name)
        if fault is not None:
            faults.append(f"{one_line(name)[:120]} {fault}")
    if faults:
        more = len(faults) - SHOWN_FAULTS
        shown = "; ".join(faults[:SHOWN_FAULTS])
        raise ValueError(shown + (f"; {more} more" if more > 0 else ""))


def _fault(entry: zipfile.ZipInfo) -> str | None:
    path, mode = PurePosixPath(entry.filename), entry.external_attr >> 16
    if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or not path.parts:
        return "is a path outside of it"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if entry.compress_type not in _METHODS:
        return "is packed neither with deflate nor not at all"
    return None
