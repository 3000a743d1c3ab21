"""Running the command line inside a test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from omnijet import cli

Capture = pytest.CaptureFixture[str]


def refused(capsys: Capture, *command: str | Path) -> str:
    """Runs a command that must fail as a user's mistake; returns what it said."""
    assert cli.main([str(part) for part in command]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("omnijet: ") and "Traceback" not in said.err
    return said.err


def answer(capsys: Capture, bundle: Path, *options: str | Path) -> dict:
    """`omnijet run --json` on a short reply."""
    limits = ["--max-text-tokens", "6", "--max-codes", "11", "--seed", "3"]
    command = ["run", str(bundle), "--json", *limits, *map(str, options)]
    assert cli.main(command) == 0
    return json.loads(capsys.readouterr().out)
