"""Where a process looks for modules: never in the current folder, whatever lies there.

`python -m omnijet` runs this before the current folder is off its path. It therefore imports only
modules that every Python has loaded by then.
"""

import os
import sys
from collections.abc import Iterable

HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
"""The folder that the package `omnijet` lies in."""


def leave_current_folder() -> None:
    """Takes the current folder off this process's path, unless omnijet lies in it."""
    sys.path[:] = [entry for entry in sys.path if not is_current(entry) or is_current(HOME)]


def safe_entries(entries: Iterable[str], keep_home: bool = True) -> list[str]:
    """Returns the entries of a path that a new process may have: absolute, existing, once each.

    An empty entry means the current folder. `PYTHONPATH` cannot say one with a colon in it.

    Args:
        keep_home: whether the current folder stays if omnijet lies in it.
    """
    found = []
    for entry in entries:
        folder = os.path.abspath(entry) if entry else ""
        if not folder or os.pathsep in folder or not os.path.exists(folder):
            continue
        if is_current(folder) and not (keep_home and _same(folder, HOME)):
            continue
        if folder not in found:
            found.append(folder)
    return found


def is_current(entry: str) -> bool:
    """Returns whether an entry of a path is the current folder."""
    return not entry or _same(entry, os.curdir)


def _same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:  # one of them is gone
        return False
