"""Runs jobs of `engines/worker.py` or `ort_worker.py` in a process of its own, which may crash."""

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

from omnijet.engines.targets.toolkits import Library
from omnijet.runtime.child.start import start
from omnijet.runtime.leftovers import leftover

WORKER = Path(__file__).with_name("worker.py")
ORT_WORKER = Path(__file__).with_name("ort_worker.py")
PYTHON_VARIABLE = "OMNIJET_TRT_PYTHON"

Progress = Callable[[str, int, int], None]
"""Receives (what, done, total)."""


class Died(Exception):
    """The process ended without a verdict.

    Attributes:
        signal: the signal that ended the process; None: it exited.
        said: the end of its stderr.
    """

    def __init__(self, signal: int | None, said: str) -> None:
        self.signal, self.said = signal, said
        super().__init__(said)


def interpreter(given: str | None, library: Library) -> str:
    """Returns the interpreter of a library's workers: the given one, the environment's, or this
    one. The environment names one for TensorRT alone.
    """
    elsewhere = None if library == "onnxruntime" else os.environ.get(PYTHON_VARIABLE)
    named = given or elsewhere or sys.executable
    return os.path.abspath(named) if os.sep in named else named


def run_worker(
    python: str,
    job: Mapping[str, Any],
    progress: Progress = lambda what, done, total: None,
    folder: Path | None = None,
    worker: Path = WORKER,
) -> dict[str, Any]:
    """Runs a job of `omnijet.engines.worker` and returns its verdict.

    Args:
        folder: the folder that the job's file names are relative to.
        worker: the program; `ORT_WORKER` for ONNX Runtime.

    Raises:
        Died: the process ended without a verdict.
        OSError: there is no such interpreter.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        process = start(
            worker, python=python, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            text=True, errors="replace", cwd=folder,
        )  # fmt: skip
        with leftover(process.kill):
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
    with suppress(BrokenPipeError), process.stdin as pipe:  # the process may have died already
        pipe.write(json.dumps(job))
    verdict = None
    for line in process.stdout:
        try:
            fact = json.loads(line)
        except ValueError:  # a line that the library printed
            continue
        if isinstance(fact, dict) and "progress" in fact:
            progress(fact["progress"], fact["done"], fact["total"])
        elif isinstance(fact, dict) and fact.get("verdict"):
            verdict = fact
    return verdict


def killed_for_memory(died: Died) -> bool:
    """Returns whether the kernel killed the process to free memory."""
    return died.signal == signal.SIGKILL or "bad_alloc" in died.said
