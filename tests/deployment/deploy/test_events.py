"""Events survive their way over a wire, and nothing else on it is taken for one."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from omnijet.deployment.deploy import attendance
from omnijet.deployment.deploy.display import line_of
from omnijet.deployment.deploy.events import MARK, Event
from omnijet.deployment.deploy.steps import NAMES


@pytest.mark.parametrize(
    "event",
    [
        Event("progress", "build", "hashing", 3, 12),
        Event("done", "build", "nothing changed", seconds=1.25),
        Event("failed", text="omnijet: a\n  fix:      b"),
        Event("ended", code=1),
    ],
)
def test_there_and_back(event: Event) -> None:
    assert "\n" not in event.line()
    assert Event.parsed(event.line()) == event


@pytest.mark.parametrize(
    "line",
    [
        "Welcome!", MARK, f"{MARK}{{}}", f"{MARK}[]", f'{MARK}{{"kind":"shout"}}',
        f'{MARK}{{"kind":"done","more":1}}', f'{MARK}{{"kind":"progress","done":-1}}',
        f'{MARK}{{"kind":"done","seconds":NaN}}', f"x{Event('ended').line()}",
    ],
)  # fmt: skip
def test_what_is_no_event(line: str) -> None:
    assert Event.parsed(line) is None


def test_foreign_words_steer_no_terminal() -> None:
    found = Event.parsed(Event("said", "bu\x1b[2Jild", "a\nb\x1b]0;x\x07").line())
    assert found == Event("said", "bu\\x1b[2Jild", "a\\x0ab\\x1b]0;x\\x07")
    failed = Event.parsed(Event("failed", text="a\n\x1b[2J").line())
    assert failed is not None and failed.text == "a\n\\x1b[2J"


def test_lines_for_a_pipe() -> None:
    assert line_of(Event("begun", "export"), NAMES) == "2/6 export: begins"
    assert line_of(Event("done", "build", "x", seconds=2), NAMES) == "5/6 build: done in 2.0 s (x)"
    assert line_of(Event("begun", "copy", "to me@jetson"), NAMES) == "copy: begins (to me@jetson)"
    assert line_of(Event("progress", "build", "x", 1, 2), NAMES) is None


@pytest.mark.parametrize("how", ["end", "silence"])
def test_whoever_asked_has_gone(how: str) -> None:
    reads, writes = os.pipe()
    interrupted = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda number, frame: interrupted.set())
    try:
        with attendance.attended(reads, silence_s=0.4):
            for _ in range(5):  # as long as somebody writes, all is well
                os.write(writes, b"\n")
                time.sleep(0.1)
            assert not interrupted.is_set()
            if how == "end":
                os.close(writes)
            deadline = time.monotonic() + 20
            while not interrupted.is_set() and time.monotonic() < deadline:
                time.sleep(0.02)
        assert interrupted.is_set()
    finally:
        signal.signal(signal.SIGTERM, before)
        os.close(reads)
        if how != "end":
            os.close(writes)


def test_the_end_of_the_work_is_no_fault() -> None:
    reads, writes = os.pipe()
    try:
        with attendance.attended(reads, silence_s=30):
            pass
    finally:
        os.close(reads)
        os.close(writes)
