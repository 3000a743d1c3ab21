"""Helpers that run the command line inside a test."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest

from omnijet import cli

Capture = pytest.CaptureFixture[str]
LIBRARIES = re.compile(r"(\n(ONNX Runtime|TensorRT|TensorRT-RTX) [0-9][0-9.]*)*")
TERMINATION = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def heed_signals() -> None:
    """Restores the default of each signal, in a child process before its program starts.

    `nohup` ignores SIGHUP, and `&` in a script ignores SIGINT. A program inherits ignored signals,
    and Python then raises no KeyboardInterrupt.
    """
    for number in TERMINATION:
        signal.signal(number, signal.SIG_DFL)


def ignore_signals() -> None:
    """Ignores the signals, as `nohup` and `&` in a script do."""
    for number in TERMINATION:
        signal.signal(number, signal.SIG_IGN)


def refused(capsys: Capture, *command: str | Path) -> str:
    """Runs a command that must fail as a user's mistake; returns the message.

    Nothing may be said before it but which library builds.
    """
    assert cli.main([str(part) for part in command]) == 2
    told, _, message = f"\n{capsys.readouterr().err}".partition("\nomnijet: ")
    assert message and "Traceback" not in message and LIBRARIES.fullmatch(told), told
    return f"omnijet: {message}"


def answer(capsys: Capture, bundle: Path, *options: str | Path) -> dict:
    """Runs `omnijet run --json` with a short reply and returns the printed object."""
    limits = ["--max-text-tokens", "6", "--max-codes", "11", "--seed", "3"]
    command = ["run", str(bundle), "--json", *limits, *map(str, options)]
    assert cli.main(command) == 0
    return json.loads(capsys.readouterr().out)
