"""No name or text of others steers the terminal of whoever runs a command."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from omnijet import cli
from omnijet.runtime.files.printable import printable
from tests.command import Capture

ESC = "\x1b[2J\x1b]0;owned\x07\u202e"
RAW = os.fsdecode(b"\xff\x9b2J")
SHORT = ("--no-speech", "--max-text-tokens", "2")


@pytest.fixture
def odd(nano: tuple[Path, Path], tmp_path: Path) -> Path:
    """A bundle in a folder whose name is an attack."""
    folder = tmp_path / f"{ESC}[red]"
    folder.symlink_to(nano[1])
    return folder


def said(capsys: Capture, *command: str | Path) -> tuple[int, str]:
    """Returns the exit code, and all that was printed, which must be harmless."""
    try:
        code = cli.main([str(part) for part in command])
    except SystemExit as end:
        code = int(end.code or 0)
    told = capsys.readouterr()
    for stream in (told.out, told.err):
        assert printable(stream) == stream
        assert "Traceback" not in stream
    return code, told.out + told.err


@pytest.mark.parametrize(
    ("code", "command"),
    [
        (0, ("inspect",)),
        (0, ("check",)),
        (0, ("check", "--format", "json")),
        (2, ("run", "--text", "Hi", "--voice", ESC)),
        (2, ("run", "--image", f"{ESC}.png")),
        (2, ("run", "--audio", f"{RAW}.wav")),
        (2, ("run", "--text", "Hi", "--out", f"nowhere/{ESC}/a.wav")),
        (2, ("run", "--text", "Hi", "--engines", ESC)),
        (2, ("run", "--text", "Hi", f"--{ESC}")),
        (2, ("profile", "--scenario", ESC)),
    ],
)
def test_names(odd: Path, capsys: Capture, code: int, command: tuple[str, ...]) -> None:
    verb, *options = command
    found, words = said(capsys, verb, odd, *options)
    assert found == code
    if code:
        assert "\\x1b" in words or "\\xff" in words


def test_media(odd: Path, tmp_path: Path, capsys: Capture) -> None:
    for name in (f"{ESC}.png", f"{RAW}.png", "a\nPASSED.png"):
        (tmp_path / name).write_bytes(b"%!PS-Adobe\n" + ESC.encode())
        code, words = said(capsys, "run", odd, "--image", tmp_path / name, *SHORT)
        assert code == 2 and "PostScript" in words
        assert not any(line.startswith("PASSED") for line in words.split("\n"))


def test_no_command_is_called_so(capsys: Capture) -> None:
    assert said(capsys, ESC)[0] == 2


@pytest.mark.parametrize("how", [(), ("--stream",), ("--json",)])
def test_the_words_of_a_model(
    odd: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, how: tuple[str, ...]
) -> None:
    from omnijet.runtime.prompt import tokenizer

    monkeypatch.setattr(tokenizer.Tokenizer, "decode", lambda self, ids, kept=(): f"{ESC}👩‍👩‍👧")
    command = ["run", str(odd), "--text", ESC, *SHORT, *how]
    assert cli.main(command) == 0
    data = capsys.readouterr().out  # no terminal: what was said, as it was said
    assert json.loads(data)["text"] if how == ("--json",) else ESC in data
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    code, words = said(capsys, *command)
    assert code == 0 and "👩‍👩‍👧" in words
