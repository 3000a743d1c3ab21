"""On a terminal, keys ask, stop and end, and the terminal is left as it was."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.command import heed_signals
from tests.layering import ROOT

LATE_S = 120.0
CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
TYPED = ("--no-microphone", "--no-speech")


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, command: list[str], kind: str = "xterm-256color") -> None:
        self._main, self._end = pty.openpty()
        self.before = termios.tcgetattr(self._end)
        environment = {**os.environ, "TERM": kind, "COLUMNS": "100", "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = str(ROOT)
        self.program = subprocess.Popen(
            [sys.executable, "-m", "omnijet", *command], cwd="/", env=environment,
            stdin=self._end, stdout=self._end, stderr=self._end, start_new_session=True,
            preexec_fn=heed_signals,
        )  # fmt: skip
        self.said = ""
        self._read = 0  # of it, without codes

    def type(self, keys: str) -> None:
        os.write(self._main, keys.encode())

    def until(self, words: str) -> None:
        """Reads until some words stand on the screen, after those that were waited for before."""
        deadline = time.monotonic() + LATE_S
        while (found := CODES.sub("", self.said).find(words, self._read)) < 0:
            assert time.monotonic() < deadline, CODES.sub("", self.said)
            if select.select([self._main], [], [], 0.2)[0]:
                self.said += os.read(self._main, 65_536).decode(errors="replace")
            elif self.program.poll() is not None:
                raise AssertionError(CODES.sub("", self.said))
        self._read = found + len(words)

    def code(self) -> int:
        """Waits for the end; returns the exit code. The terminal must be as it was."""
        deadline = time.monotonic() + LATE_S
        while self.program.poll() is None:
            assert time.monotonic() < deadline, self.said
            if select.select([self._main], [], [], 0.05)[0]:
                self.said += os.read(self._main, 65_536).decode(errors="replace")
        assert termios.tcgetattr(self._end) == self.before
        return self.program.returncode

    def close(self) -> None:
        if self.program.poll() is None:
            self.program.kill()
        self.program.wait()
        os.close(self._main)
        os.close(self._end)


@contextmanager
def terminal(*command: str | Path) -> Iterator[Terminal]:
    made = Terminal([str(word) for word in command])
    try:
        yield made
    finally:
        made.close()


def test_keys_ask_and_end(trained: tuple[Path, Path]) -> None:
    with terminal("chat", trained[1], *TYPED) as screen:
        screen.until("ready")
        screen.type(f"/image {ROOT}/tests/media/drawing.png\r")
        screen.until("shown:")
        screen.type("What do you sex\x7fe?")
        screen.until("> What do you see?")
        screen.type("\r")
        screen.until("you: What do you see?")
        screen.until("answered after")
        screen.until("reply: three yellow stars")
        screen.type("/nonsense\r")
        screen.until("there is no /nonsense")
        screen.type("\x04")
        assert screen.code() == 0
    assert "Traceback" not in screen.said and "\x1b[?25h" in screen.said  # the cursor is back


def test_ctrl_c_ends_a_chat_that_says_nothing(trained: tuple[Path, Path]) -> None:
    with terminal("chat", trained[1], *TYPED) as screen:
        screen.until("ready")
        screen.type("\x03")
        assert screen.code() == 130
    assert "Traceback" not in screen.said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it_and_restore_the_terminal(
    trained: tuple[Path, Path], number: signal.Signals
) -> None:
    with terminal("chat", trained[1], *TYPED) as screen:
        screen.until("ready")
        screen.program.send_signal(number)
        assert screen.code() == 130
    assert "Traceback" not in screen.said


def test_a_terminal_without_raw_mode_gives_lines(trained: tuple[Path, Path]) -> None:
    """Its output is a pipe, so that nothing is drawn and the terminal echoes by itself."""
    main, end = pty.openpty()
    program = subprocess.Popen(
        [sys.executable, "-m", "omnijet", "chat", str(trained[1]), *TYPED], cwd="/",
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdin=end, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        os.write(main, f"/image {ROOT}/tests/media/drawing.png\nWhat do you see?\n".encode())
        assert program.stdout is not None
        assert program.stdout.readline() == b"three yellow stars\n"
        os.write(main, b"\x04")
        assert program.wait(LATE_S) == 0
    finally:
        program.kill()
        program.communicate()
        os.close(main)
        os.close(end)


def test_ctrl_c_stops_a_reply_first(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """In real time a reply sounds for a second, and in a second one Ctrl-C finds it."""
    out = tmp_path / "b.wav"
    with terminal("chat", trained[1], "--no-microphone", "--output", out) as screen:
        screen.until("ready")
        screen.type(f"/image {ROOT}/tests/media/drawing.png\rWhat do you see?\r")
        screen.until("thinking")
        screen.type("\x03")
        screen.until("ready")
        screen.type("\x04")
        assert screen.code() in (0, 1)  # 1: it was stopped before anything was heard
    assert "interrupted" not in screen.said and "Traceback" not in screen.said
