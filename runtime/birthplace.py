"""The process in which a model was opened: its threads and its graphs do not survive a fork.

A child that runs a graph of its parent may wait for ever for threads that only the parent has, and
freeing the graph waits for them, too, or ends the child. So a child is told at its first call, and
never frees what it inherited.
"""

from __future__ import annotations

import ctypes
import os
import sys
from weakref import WeakSet

from omnijet.runtime.errors import OmnijetError

_owners: WeakSet[object] = WeakSet()
"""What must not be freed in a child, with all that it refers to."""


class Birthplace:
    """The process in which a thing was made.

    Args:
        owner: has the graphs of a model. A child of this process keeps it to its own end.
        where: names it in messages.
    """

    def __init__(self, owner: object, where: object) -> None:
        self._process, self._where = os.getpid(), where
        _owners.add(owner)

    @property
    def is_here(self) -> bool:
        """Whether this is still the process, and no child of it."""
        return os.getpid() == self._process

    def require_here(self) -> None:
        """Raises `OmnijetError` in a child.

        It is called before a lock is taken, which a child may have inherited held.
        """
        if not self.is_here:
            raise OmnijetError(
                "this model was opened before the process forked: its threads stayed in the parent",
                where=self._where,
                expected=f"the process that opened it, {self._process}",
                got=f"its child {os.getpid()}",
                fix="open the bundle in the child, after the fork, or start the child anew: "
                'multiprocessing.get_context("spawn")',
            )


def _keep_all() -> None:
    """Gives every owner a reference that nobody takes back, not even the end of Python."""
    for owner in list(_owners):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(owner))
    if "onnxruntime" in sys.modules:
        _end_quickly()


def _end_quickly() -> None:
    """Has the child end where Python has ended.

    What libraries registered for their own end would follow. ONNX Runtime 1.32 waits there for a
    thread of the parent, even if no graph was ever loaded. `on_exit` calls `_exit` with the exit
    code; what is registered later goes before.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "on_exit"):  # glibc has it
        libc.on_exit(libc._exit, None)
        libc.__cxa_atexit(libc.fflush, None, None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_all)
