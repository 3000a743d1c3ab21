"""A step is a process of its own: what it tells comes through, and it ends with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from omnijet.deployment.deploy import verb
from omnijet.deployment.deploy.verb import progress_of, run_verb
from tests.command import heed_signals

Lines = list[str]


def test_a_command_runs_and_is_heard(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    said: Lines = []
    ran = run_verb(
        ["check", str(tmp_path / "no bundle")], tmp_path, lambda *one: told.append(one), said.append
    )
    assert ran.code == 2 and ran.result == "" and not told
    assert said == list(ran.said) and said[0] == "omnijet: this is not an omnijet bundle"
    assert ran.seconds > 0 and ran.peak_bytes > 10 << 20


def test_what_it_prints_is_its_result(tmp_path: Path) -> None:
    ran = run_verb(["--version"], tmp_path, lambda *one: None, lambda line: None)
    assert ran.code == 0 and ran.result.startswith("omnijet ")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"progress":"a","done":1,"total":2}', ("a", 1, 2)),
        ('{"progress":"a\\u001b[2J","done":1,"total":2}', ("a\\x1b[2J", 1, 2)),
        ('{"progress":"a","done":"1","total":2}', None),
        ('{"progress":1}', None),
        ('{"progress":"a","done":1', None),
        ("some text", None),
    ],
)
def test_lines_of_progress(line: str, told: object) -> None:
    assert progress_of(line) == told


SLOW = """
import sys
from pathlib import Path
from omnijet.deployment.deploy import verb
from omnijet.runtime.child import start
verb.MODULE = sys.argv[1]
verb.run_verb([sys.argv[2]], Path(sys.argv[3]), lambda *one: None, lambda line: None)
"""
CHILD = """
import os, sys, time
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(100)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_its_parent(tmp_path: Path, number: int) -> None:
    child, note = tmp_path / "child.py", tmp_path / "pid"
    child.write_text(CHILD)
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, child, note, tmp_path], preexec_fn=heed_signals
    )
    try:
        deadline = time.monotonic() + 60
        while not (note.is_file() and note.read_text()) and time.monotonic() < deadline:
            time.sleep(0.02)
        pid = int(note.read_text())
        process.send_signal(number)
        process.wait(30)
        while _lives(pid) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not _lives(pid)
    finally:
        process.kill()
        process.wait()


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_temporary_files_go_where_they_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "child.py"
    child.write_text("import tempfile; print(tempfile.gettempdir())")
    monkeypatch.setattr(verb, "MODULE", str(child))
    ran = run_verb([], tmp_path, lambda *one: None, lambda line: None)
    assert ran.result.strip() == os.fspath(tmp_path)
