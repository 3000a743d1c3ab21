"""The folder that the facts of a machine are read from."""

from __future__ import annotations

import os
from pathlib import Path

from omnijet.runtime.files.bounded import BadFile, read_bounded

REAL = Path("/")
VARIABLE = "OMNIJET_MACHINE_ROOT"
"""Environment variable that names another folder with /proc, /sys and /etc: for rehearsals of
machines that are not at hand."""
MOST_BYTES = 1 << 20


def machine_root() -> Path:
    """Returns the folder that contains /proc, /sys and /etc of this machine."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else REAL


def text(path: Path) -> str:
    """Returns the text of a small file; empty if there is none or it cannot be read."""
    try:
        return read_bounded(path, MOST_BYTES).decode("utf-8", errors="replace").strip("\0\n ")
    except (OSError, BadFile):
        return ""
