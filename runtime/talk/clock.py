"""A turn's clock: the time of each stage and step, and of the first text, code and sample."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from omnijet.runtime.model.decoder import Context

T = TypeVar("T")
R = TypeVar("R")

StageReport = Callable[[str, int, int], None]
"""Called with a stage, its steps done, and all its steps (0 if unknown)."""


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Microseconds of each step of a decoding stage, in all and inside the graph call.

    The difference is the cost of the host.
    """

    total_us: list[float] = field(default_factory=list)
    graph_us: list[float] = field(default_factory=list)


class Span(NamedTuple):
    """A stage or a step of one, in milliseconds since the call."""

    stage: str
    begin_ms: float
    end_ms: float


class Clock:
    """A clock that starts when it is made; stages of several threads share it."""

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
        """Times one run of a stage; runs of the same stage add up."""
        self.report(name, 0, 0)
        began = time.perf_counter()
        try:
            yield
        finally:
            self._add(name, began, time.perf_counter() - began)

    def timed(
        self, name: str, context: Context, steps: Generator[T, None, R]
    ) -> Generator[T, None, R]:
        """Yields the steps of a decoding stage, times each, and returns what they return.

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
            except StopIteration as end:
                result: R = end.value
                return result
            took = time.perf_counter() - began
            own = took - (self._inner - inner)
            self._inner = inner + took
            self._add(name, began, took, own)
            times.total_us.append(1e6 * own)
            times.graph_us.append(1e6 * (context.graph_seconds - in_graph))
            self.report(name, len(times.total_us), 0)
            yield step

    def mark(self, name: str) -> None:
        """Notes when something came; only the first time counts."""
        if name not in self.latency_ms:
            self.latency_ms[name] = 1e3 * (time.perf_counter() - self._began)

    def report(self, stage: str, done: int, total: int) -> None:
        """Reports progress, if somebody wants to know."""
        if self._report is not None:
            self._report(stage, done, total)

    def _add(self, name: str, began: float, took: float, own: float | None = None) -> None:
        begin = 1e3 * (began - self._began)
        self.spans.append(Span(name, begin, begin + 1e3 * took))
        spent = 1e3 * (took if own is None else own)
        self.timings_ms[name] = self.timings_ms.get(name, 0.0) + spent
