"""Ends this process when the machine that asked for it has gone.

A shell that ssh started is not ended with its connection. The other machine therefore holds stdin
open and writes a line every few seconds: the end of stdin, or silence, is the end of the work.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

BEAT_S = 5.0
"""Time between two lines of the other machine."""
SILENCE_S = 60.0


@contextmanager
def attended(stdin: int = 0, silence_s: float = SILENCE_S) -> Iterator[None]:
    """Interrupts the block, as SIGTERM does, if `stdin` ends or nothing comes for so long."""
    told, tell = os.pipe()

    def watch() -> None:
        while True:
            ready, _, _ = select.select([stdin, told], [], [], silence_s)
            if told in ready:
                return
            if not ready or not _read(stdin):
                os.kill(os.getpid(), signal.SIGTERM)
                return

    thread = threading.Thread(target=watch, name="omnijet-attendance", daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.close(tell)  # its end is readable
        thread.join()
        os.close(told)


def _read(stdin: int) -> bytes:
    try:
        return os.read(stdin, 4096)
    except OSError:
        return b""
