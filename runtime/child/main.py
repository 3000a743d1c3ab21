"""The file that every process starts with that this package starts: it runs a module or a file.

Its first lines must not import anything: the folder that this file lies in is on the path where
Python is older than 3.11, and knows no way to keep it off.
"""

import sys

if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
    del sys.path[0]

import contextlib
import ctypes
import importlib
import os
import runpy
import signal


def end_with(parent: int) -> None:
    """Makes this process end when its parent does, even if that is killed."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG of linux/prctl.h
        if os.getppid() == 1 != parent:  # it was killed before that call
            os._exit(1)


def main(parent: str, target: str, *arguments: str) -> None:
    """Runs the function `main` of a module of omnijet, or a whole file.

    What the function returns is the exit code, as of `sys.exit`.

    Args:
        parent: the number of the process that started this one.
        target: a module's name, or the path of a file.
        arguments: `sys.argv` from 1 on.
    """
    end_with(int(parent))
    sys.argv[:] = [target, *arguments]
    if target.endswith(".py"):
        runpy.run_path(target, run_name="__main__")
        return
    home = os.path.abspath(os.path.join(__file__, *[os.pardir] * 4))
    if home not in sys.path:
        sys.path.append(home)
    sys.exit(importlib.import_module(target).main())


if __name__ == "__main__":
    main(*sys.argv[1:])
