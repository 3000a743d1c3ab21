"""Files that a user names."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from omnijet.runtime.errors import OmnijetError


def require_file(source: str | os.PathLike[str], noun: str, where: object) -> Path:
    """The path of a file that is there. Addresses are not followed.

    Raises:
        OmnijetError: there is no such file; `noun` says of what, `where` in which place.
    """
    # os.path, as Path.is_file raises on names that no file can have
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
    """Whether this is a URL. `Path` makes one slash of two."""
    start = os.fspath(source)[:12].lower()
    return start.startswith(("http:/", "https:/", "file:/", "s3:/", "gs:/", "data:"))


def shell_quoted(path: str | os.PathLike[str]) -> str:
    """Returns the path quoted for a shell, for the commands that messages suggest."""
    return shlex.quote(os.fspath(path))


def shorten(source: str | os.PathLike[str]) -> str:
    """For messages: a whole picture may hide in a data address."""
    name = os.fspath(source)
    return name if len(name) <= 120 else f"{name[:100]}... ({len(name)} characters)"
