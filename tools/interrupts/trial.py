"""One command, one signal: how soon it ended, and what it left."""

from __future__ import annotations

import getpass
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import uuid4

from tests.command import heed_signals
from tools.interrupts.scenarios import Moment, Scenario

Way = Literal["Ctrl-C", "SIGINT", "SIGTERM"]
"""Ctrl-C goes to the whole group of processes, the others to the command alone."""
WAYS: tuple[Way, ...] = ("Ctrl-C", "SIGINT", "SIGTERM")

STATE = ".quantized.calibration.npz"  # a whole file, from which the next run resumes
KEPT = (STATE, ".ses", f"torchinductor_{getpass.getuser()}")
"""Besides the state, what onnxruntime and torch keep among temporary files after every run."""
MARK = "OMNIJET_INTERRUPTS"
PATIENCE_S = 300.0
SAID = "omnijet: interrupted; nothing half-written was left behind"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a command.

    Attributes:
        seconds: from the signal to the end; None: it had ended before.
        left: files and processes that are still there.
        is_clean: whether it said that it was interrupted, without a traceback.
        said: the end of its stderr.
    """

    scenario: Scenario
    moment: Moment
    way: Way
    seconds: float | None
    code: int
    left: tuple[str, ...]
    is_clean: bool
    said: str

    @property
    def holds(self) -> bool:
        """Whether all demands are met."""
        if self.seconds is None:
            return self.code == 0
        return (
            self.seconds <= self.scenario.limit
            and self.code == 130
            and not self.left
            and self.is_clean
        )


def attempt(scenario: Scenario, moment: Moment, way: Way, out: Path) -> Outcome:
    """Runs a command and interrupts it.

    Args:
        out: an empty folder, which the command's files and temporary files go to.
    """
    token, marks = uuid4().hex, out.with_suffix(".stages")
    marks.write_text("")
    program = ["omnijet"]
    if moment.stage is not None:
        program = ["tools.interrupts.child", str(marks)]
    process = subprocess.Popen(
        [sys.executable, "-m", *program, *scenario.command],
        env={**os.environ, MARK: token, "TMPDIR": str(out)},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=heed_signals,
    )  # fmt: skip
    began = time.monotonic()
    try:
        _wait(process, moment, marks, began)
        had_ended, sent = process.poll() is not None, time.monotonic()
        if not had_ended:
            number = signal.SIGTERM if way == "SIGTERM" else signal.SIGINT
            os.killpg(process.pid, number) if way == "Ctrl-C" else process.send_signal(number)
        _, said = process.communicate(timeout=PATIENCE_S)
        took = time.monotonic() - sent
    finally:
        process.kill()
    time.sleep(0.1)  # killed processes need a moment
    left = [path.name for path in out.iterdir() if path.name not in KEPT]
    left += [f"process {number}" for number in _processes(token)]
    lines = [line for line in said.splitlines() if line]
    return Outcome(
        scenario, moment, way, None if had_ended else took, process.returncode, tuple(left),
        lines[-1:] == [SAID] and "Traceback" not in said, said[-500:],
    )  # fmt: skip


def _wait(process: subprocess.Popen[str], moment: Moment, marks: Path, began: float) -> None:
    """Waits for the moment, or for the end of the process."""
    while moment.stage is not None and process.poll() is None:
        if moment.stage in marks.read_text().split():
            began = time.monotonic()
            break
        if time.monotonic() - began > PATIENCE_S:
            raise TimeoutError(f"stage {moment.stage} did not begin")
        time.sleep(0.005)
    while process.poll() is None and time.monotonic() - began < moment.seconds:
        time.sleep(0.005)


def _processes(token: str) -> list[int]:
    """Returns the processes that the command has started and not ended."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if f"{MARK}={token}".encode() in environment:
                found.append(int(entry.name))
    return found
