"""Keeps lines that decoders write to stderr from the user of a command: errors say what they mean.

libmpg123 and libtiff write of every damaged frame, and have no switch that Python reaches. So
stderr itself leads elsewhere while they read. All threads of a process share it, so only a process
that is the `omnijet` command does this, and around single calls.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STDERR = 2
_one = threading.RLock()


class _Process:
    is_ours = False


def quieten_decoders() -> None:
    """Has `quiet` act: the process is a command, and its stderr is nobody else's."""
    _Process.is_ours = True


@contextmanager
def quiet() -> Iterator[None]:
    """Drops what is written to stderr within the block, if the process is a command."""
    if not _Process.is_ours:
        yield
        return
    with _one:
        kept, nowhere = os.dup(STDERR), os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, STDERR)
        os.close(nowhere)
        try:
            yield
        finally:
            os.dup2(kept, STDERR)
            os.close(kept)
