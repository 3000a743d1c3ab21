"""A turn's clock: what each stage and each step took, and when things first came."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from omnijet.runtime.model.decoder import Context

T = TypeVar("T")

StageReport = Callable[[str, int, int], None]
"""Told (stage, steps done, steps in all or 0 if unknown)."""


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Microseconds of each step of a decoding stage: in all, and inside the graph call.
    The difference is what the host costs."""

    total_us: list[float] = field(default_factory=list)
    graph_us: list[float] = field(default_factory=list)


class Span(NamedTuple):
    """A stage or a step of one, in milliseconds since the call."""

    stage: str
    begin_ms: float
    end_ms: float


class Clock:
    """Starts when made. Stages that run in other threads may use it too."""

    def __init__(self, report: StageReport | None = None) -> None:
        self._report = report
        self._began = time.perf_counter()
        self._inner = 0.0  # seconds of steps that ran inside other steps
        self.timings_ms: dict[str, float] = {}
        self.latency_ms: dict[str, float] = {}
        self.steps: dict[str, StepTimes] = {}
        self.spans: list[Span] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """One run of a stage; runs of the same stage add up."""
        self.report(name, 0, 0)
        began = time.perf_counter()
        try:
            yield
        finally:
            self._add(name, began, time.perf_counter() - began)

    def timed(self, name: str, context: Context, steps: Iterator[T]) -> Iterator[T]:
        """Passes the steps of a decoding stage on, and times each.

        A step may take steps of another timed stage inside it (the Talker waits for the
        Thinker): their time is theirs alone.
        """
        times = self.steps[name] = StepTimes()
        self.report(name, 0, 0)
        while True:
            inner, in_graph = self._inner, context.graph_seconds
            began = time.perf_counter()
            try:
                step = next(steps)
            except StopIteration:
                return
            took = time.perf_counter() - began
            own = took - (self._inner - inner)
            self._inner = inner + took
            self._add(name, began, took, own)
            times.total_us.append(1e6 * own)
            times.graph_us.append(1e6 * (context.graph_seconds - in_graph))
            self.report(name, len(times.total_us), 0)
            yield step

    def mark(self, name: str) -> None:
        """Something came; only the first time counts."""
        if name not in self.latency_ms:
            self.latency_ms[name] = 1e3 * (time.perf_counter() - self._began)

    def report(self, stage: str, done: int, total: int) -> None:
        """Tells whoever shows progress."""
        if self._report is not None:
            self._report(stage, done, total)

    def _add(self, name: str, began: float, took: float, own: float | None = None) -> None:
        begin = 1e3 * (began - self._began)
        self.spans.append(Span(name, begin, begin + 1e3 * took))
        spent = 1e3 * (took if own is None else own)
        self.timings_ms[name] = self.timings_ms.get(name, 0.0) + spent
