"""Asks for the libraries that a machine may have, each in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

from omnijet.runtime.child.start import start
from omnijet.runtime.leftovers import leftover

CHILD = "omnijet.runtime.doctor.library_trial"
NAMES = ("driver", "cuda", "tensorrt", "tensorrt_rtx", "onnxruntime", "sounddevice")
LIMIT_S = 30.0
"""An SD card needs seconds for the first import of a large library."""


@dataclass(frozen=True, slots=True)
class Library:
    """What a library said of itself.

    Attributes:
        version: "" if it does not load.
        missing: whether it is not installed at all.
        error: why it does not load; None: it does.
        facts: whatever else it told (`omnijet.runtime.doctor.library_trial`).
    """

    version: str = ""
    missing: bool = False
    error: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def works(self) -> bool:
        return self.error is None

    @property
    def packages(self) -> tuple[str, ...]:
        """The installed packages that it is from."""
        return tuple(self.facts.get("packages", ()))


ABSENT = Library(missing=True, error="not installed")
Libraries = Callable[[str], Library]


class AskedLibraries:
    """The libraries of this interpreter. All are asked at once, so that nobody waits for long.

    A context manager: processes that still run at its end are killed.

    Args:
        limit_s: how long a library may take, from the start of all on.
        names: the libraries.
    """

    def __init__(self, limit_s: float = LIMIT_S, names: Sequence[str] = NAMES) -> None:
        self._limit_s, self._names = limit_s, names
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._known: dict[str, Library] = {}
        self._stack = ExitStack()
        self._end = 0.0

    def __enter__(self) -> AskedLibraries:
        self._end = time.monotonic() + self._limit_s
        for name in self._names:
            process = start(
                CHILD, name, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
            self._stack.enter_context(process)
            self._stack.callback(process.kill)
            self._stack.enter_context(leftover(process.kill))
            self._processes[name] = process
        return self

    def __exit__(self, *raised: object) -> None:
        self._stack.close()

    def __call__(self, name: str) -> Library:
        """Returns what a library said, once its process has ended or its time is over."""
        if name not in self._known:
            self._known[name] = self._answer(self._processes[name])
        return self._known[name]

    def _answer(self, process: subprocess.Popen[str]) -> Library:
        try:
            said, _ = process.communicate(timeout=max(0.1, self._end - time.monotonic()))
        except subprocess.TimeoutExpired:
            return Library(error=f"its import did not end within {self._limit_s:g} s")
        return parsed(said, process.returncode)


def parsed(said: str, code: int) -> Library:
    """Returns what the process of a library printed, or how it ended without a word."""
    with suppress(ValueError, IndexError):
        facts = json.loads(said.splitlines()[-1])
        if isinstance(facts, dict):
            error = facts.get("error")
            return Library(
                str(facts.get("version", "")),
                bool(facts.get("missing", False)),
                None if error is None else str(error),
                facts,
            )
    if code < 0:
        with suppress(ValueError):
            return Library(error=f"its import ended the process by {signal.Signals(-code).name}")
    return Library(error=f"its import ended the process with exit code {code}")
