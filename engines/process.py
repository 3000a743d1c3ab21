"""Jobs for `engines/worker.py`: a process that may die without taking us along."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("worker.py")
PYTHON_VARIABLE = "OMNIJET_TRT_PYTHON"

Progress = Callable[[str, int, int], None]
"""Told (what, done, of how many)."""


class Died(Exception):
    """The process ended without a verdict.

    Attributes:
        signal: that ended it; None: it returned.
        said: its last words on stderr.
    """

    def __init__(self, signal: int | None, said: str) -> None:
        self.signal, self.said = signal, said
        super().__init__(said)


def interpreter(given: str | None) -> str:
    """What runs workers: as told, or as the environment says, or this interpreter."""
    named = given or os.environ.get(PYTHON_VARIABLE) or sys.executable
    return os.path.abspath(named) if os.sep in named else named


def run_worker(
    python: str,
    job: Mapping[str, Any],
    progress: Progress = lambda what, done, total: None,
    folder: Path | None = None,
) -> dict[str, Any]:
    """The verdict on a job (`omnijet.engines.worker`), whose files are named from a folder on.

    Raises:
        Died: there is none.
        OSError: there is no such interpreter.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        process = subprocess.Popen(
            [python, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            text=True, errors="replace", cwd=folder,
        )  # fmt: skip
        try:
            verdict = _listen(process, job, progress)
            code = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
        if verdict is None:
            errors.seek(0)
            said = errors.read().strip().splitlines()[-1:]
            raise Died(-code if code < 0 else None, "".join(said))
    return verdict


def _listen(
    process: subprocess.Popen[str], job: Mapping[str, Any], progress: Progress
) -> dict[str, Any] | None:
    assert process.stdin is not None and process.stdout is not None
    with suppress(BrokenPipeError), process.stdin as pipe:  # it may die at once
        pipe.write(json.dumps(job))
    verdict = None
    for line in process.stdout:
        try:
            fact = json.loads(line)
        except ValueError:  # of the library, which may print what it likes
            continue
        if isinstance(fact, dict) and "progress" in fact:
            progress(fact["progress"], fact["done"], fact["total"])
        elif isinstance(fact, dict) and fact.get("verdict"):
            verdict = fact
    return verdict


def killed_for_memory(died: Died) -> bool:
    """The kernel's way to free memory."""
    return died.signal == signal.SIGKILL or "bad_alloc" in died.said
