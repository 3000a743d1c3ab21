"""How a process that is the `omnijet` command begins: it heeds signals before all heavy imports."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

INTERRUPTED = 130  # as shells have it: 128, and the number of SIGINT
INTERRUPTION = "omnijet: interrupted; nothing half-written was left behind"


def heed_signals() -> None:
    """Has signals end the process at once, as long as nothing was begun; ignored ones stay so."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, end)


def end(number: int, frame: Any) -> None:
    """Ends the process as an interrupted one: a signal handler."""
    try:
        os.write(2, f"{INTERRUPTION}\n".encode())
    finally:
        os._exit(INTERRUPTED)


def fill_closed() -> None:
    """Gives stdin, stdout and stderr a place where whoever started the process closed them.

    The next file that is opened would have their number else, and get what a library prints.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (print would take stdout instead)
