"""Checks of the file names that users give, and how messages show them."""

from __future__ import annotations

import os
import shlex


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
