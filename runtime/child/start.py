"""Starts processes of Python. Nobody else in this package does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from omnijet.runtime.child.search_path import safe_entries

MAIN = os.path.abspath(Path(__file__).with_name("main.py"))


def start(
    target: str | Path, *arguments: str, python: str | None = None, **options: Any
) -> subprocess.Popen[Any]:
    """Starts a process that sees no module of the current folder, and ends with this one.

    Ctrl-C does not reach it: whoever starts it ends it.

    Args:
        target: a module of omnijet whose `main` it calls, or the path of a file that it runs.
        arguments: its `sys.argv` from 1 on.
        python: another interpreter, for a file; this one by default.
        options: those of `subprocess.Popen`; `env` is added to the environment.

    Raises:
        OSError: there is no such interpreter.
    """
    extra = options.pop("env", {})
    return subprocess.Popen(
        [python or sys.executable, MAIN, str(os.getpid()), os.fspath(target), *arguments],
        env={**environment(is_own=python in (None, sys.executable)), **extra},
        start_new_session=True, **options,
    )  # fmt: skip


def environment(is_own: bool = True) -> dict[str, str]:
    """Returns the environment of a new process of Python.

    Args:
        is_own: whether this very interpreter runs there, and finds the modules found here.
    """
    found = dict(os.environ)
    given = found.pop("PYTHONPATH", "").split(os.pathsep)
    if entries := safe_entries(sys.path if is_own else given, keep_home=is_own):
        found["PYTHONPATH"] = os.pathsep.join(entries)
    found["PYTHONSAFEPATH"] = "1"  # Python 3.10 does not read it: see main.py
    return found
