"""Checks of the file names that users give, and how messages show them."""

from __future__ import annotations

import hashlib
import os
import shlex
from pathlib import Path

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.printable import one_line

LONGEST_WITHIN = 100
"""Bytes of a name that go into a longer one whole: some file systems end at 143 bytes."""


def is_address(source: str | os.PathLike[str]) -> bool:
    """Returns whether the source is a URL, even one whose `//` `Path` has shortened to `/`."""
    start = os.fspath(source)[:12].lower()
    return start.startswith(("http:/", "https:/", "file:/", "s3:/", "gs:/", "data:"))


def beside(place: Path, start: str, end: str) -> Path:
    """Returns the path of a companion: its name is that of `place` between `start` and `end`.

    A long name is shortened, so that a file system that takes the one takes the other. The bytes
    of what is left out are in a digest: two long names have two companions.
    """
    name = os.fsencode(place.name)
    if len(name) <= LONGEST_WITHIN:
        return place.parent / f"{start}{place.name}{end}"
    begins = name[: LONGEST_WITHIN - 20].decode("utf-8", "ignore")
    return place.parent / f"{start}{begins}-{hashlib.sha256(name).hexdigest()[:16]}{end}"


def require_utf8(folder: Path) -> None:
    """Refuses a folder of graphs that the libraries which read them cannot be told of.

    Raises:
        OmnijetError: its path is no UTF-8.
    """
    try:
        os.fspath(folder).encode("utf-8")
    except UnicodeEncodeError as error:
        raise OmnijetError(
            "the libraries that read graphs take only paths in UTF-8",
            where=folder,
            got=f"another character at {error.start}",
            fix="rename the folder, or give it a link with another name",
        ) from error


def shell_quoted(path: str | os.PathLike[str]) -> str:
    """Returns the path quoted for a shell, for the commands that messages suggest.

    Control characters are written so that a terminal shows them and a shell means them.
    """
    name = os.fspath(path)
    if one_line(name) == name:
        return shlex.quote(name)
    plain = name.replace("\\", r"\\").replace("'", r"\'")
    return "$'" + "".join(one if one_line(one) == one else _bytes(one) for one in plain) + "'"


def _bytes(one: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in one.encode("utf-8", "surrogateescape"))


def shorten(source: str | os.PathLike[str]) -> str:
    """Returns a name short enough for messages: a data URL can hold a whole picture."""
    name = os.fspath(source)
    return name if len(name) <= 120 else f"{name[:100]}... ({len(name)} characters)"
