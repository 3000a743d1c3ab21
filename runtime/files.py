"""Checks of the file names that users give, and how messages show them."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from omnijet.runtime.errors import OmnijetError


def require_file(source: str | os.PathLike[str], noun: str, where: object) -> Path:
    """Returns the path of an existing file; URLs are not downloaded.

    Raises:
        OmnijetError: there is no such file. `noun` is its kind and `where` its place in the
            message.
    """
    # not Path.is_file: it raises on names that no file can have
    if os.path.isfile(source):
        return Path(source)
    raise OmnijetError(
        f"there is no such {noun} file",
        where=where,
        expected="a file on this machine",
        got="a folder" if os.path.isdir(source) else f"nothing at {shorten(source)}",
        fix="download it first" if is_address(source) else None,
    )


def is_address(source: str | os.PathLike[str]) -> bool:
    """Returns whether the source is a URL, even one whose `//` `Path` has shortened to `/`."""
    start = os.fspath(source)[:12].lower()
    return start.startswith(("http:/", "https:/", "file:/", "s3:/", "gs:/", "data:"))


def shell_quoted(path: str | os.PathLike[str]) -> str:
    """Returns the path quoted for a shell, for the commands that messages suggest."""
    return shlex.quote(os.fspath(path))


def shorten(source: str | os.PathLike[str]) -> str:
    """Returns a name short enough for messages: a data URL can hold a whole picture."""
    name = os.fspath(source)
    return name if len(name) <= 120 else f"{name[:100]}... ({len(name)} characters)"
