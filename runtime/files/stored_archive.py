"""Opens zip files from strangers whose members are not compressed, to be read in place."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import PurePosixPath
from typing import BinaryIO

from omnijet.runtime.files.archive import UNREADABLE, check_list
from omnijet.runtime.files.bounded import BadFile

MOST_NAME = 200


def open_stored(file: BinaryIO, most_members: int) -> zipfile.ZipFile:
    """Opens a zip file whose members together are no larger than it, and checks their list.

    Args:
        file: The file, which stays open as long as the archive.
        most_members: How many it may have.

    Raises:
        BadFile: it is no such file, or has names that lead elsewhere.
    """
    try:
        check_list(file, most_members)
        archive = zipfile.ZipFile(file)
        _check_members(archive.infolist(), file.seek(0, io.SEEK_END))
    except BadFile:
        raise
    except UNREADABLE as error:
        raise BadFile(f"no zip file: {error}") from error
    return archive


def _check_members(members: list[zipfile.ZipInfo], most_bytes: int) -> None:
    seen: set[str] = set()
    for member in members:
        name = member.filename
        shown = ascii(name[:MOST_NAME])
        if not _stays_inside(name) or stat.S_ISLNK(member.external_attr >> 16):
            raise BadFile(f"the member {shown} leads outside of it")
        if name in seen:
            raise BadFile(f"the member {shown} twice")
        seen.add(name)
        if member.compress_type != zipfile.ZIP_STORED:
            raise BadFile(f"the member {shown} compressed")
    total = sum(member.file_size for member in members)
    if total > most_bytes:
        raise BadFile(f"members of {total:,} bytes, more than {most_bytes:,}")


def _stays_inside(name: str) -> bool:
    parts = PurePosixPath(name).parts
    plain = name.isprintable() and 0 < len(name) <= MOST_NAME and "\\" not in name
    return plain and not name.startswith("/") and ".." not in parts and ":" not in name
