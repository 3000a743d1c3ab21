"""Reads what is typed or piped in, in a thread."""

from __future__ import annotations

import io
import os
import select
import sys
import threading
from contextlib import suppress
from typing import Any

from omnijet.runtime.chat.editor import Editor, Lines
from omnijet.runtime.chat.transport import End, Put

try:
    import termios
except ImportError:  # a system without such terminals
    termios = None  # type: ignore[assignment]

_BLOCK = 4096


class Keyboard:
    """Puts what is typed; use it in a `with` block, which leaves the terminal as it was.

    A terminal that has a raw mode gives every key at once, so that status and typed text do not
    write over each other. Any other gives lines, as a pipe does.

    Attributes:
        is_raw: whether every key comes at once, and nothing is echoed.
        is_terminal: whether a person types.
    """

    def __init__(self, put: Put, wants_raw: bool = True) -> None:
        self._put = put
        self._number = _stdin_number()
        self.is_terminal = self._number is not None and os.isatty(self._number)
        self._before: list[Any] | None = None
        if self.is_terminal and wants_raw:
            self._before = _raw(self._number)
        self.is_raw = self._before is not None
        self._reader = Editor() if self.is_raw else Lines()
        self._told, self._tells = os.pipe()
        self._thread = threading.Thread(target=self._read, name="omnijet-chat-keys", daemon=True)

    def __enter__(self) -> Keyboard:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._tells, b".")
        self._thread.join()
        os.close(self._tells)
        os.close(self._told)
        if self._before is not None and self._number is not None:
            with suppress(termios.error):
                termios.tcsetattr(self._number, termios.TCSADRAIN, self._before)

    def _read(self) -> None:
        if self._number is None:
            self._put(End())
            return
        while True:
            ready, _, _ = select.select([self._number, self._told], [], [])
            if self._told in ready:
                return
            try:
                content = os.read(self._number, _BLOCK)
            except OSError:  # the terminal has gone
                content = b""
            for news in self._reader.take(content):
                self._put(news)
            if not content:
                if self.is_raw:
                    self._put(End())
                return


def _stdin_number() -> int | None:
    try:
        return None if sys.stdin is None else sys.stdin.fileno()
    except (io.UnsupportedOperation, ValueError, OSError):  # it is closed, or no file
        return None


def _raw(number: int | None) -> list[Any] | None:
    """Takes echo and lines from a terminal; returns how it was, None if it has no such mode."""
    if termios is None or number is None:
        return None
    try:
        before = termios.tcgetattr(number)
        wanted = termios.tcgetattr(number)
        wanted[3] &= ~(termios.ECHO | termios.ICANON | termios.ISIG)
        wanted[6][termios.VMIN], wanted[6][termios.VTIME] = 1, 0
        termios.tcsetattr(number, termios.TCSADRAIN, wanted)
    except termios.error:
        return None
    return before
