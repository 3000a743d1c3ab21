"""Hands inputs to worker processes, and ends those that hang."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from tools.fuzz.worker import Job, Outcome, work

LONGEST_SECONDS = 10.0
MOST_BYTES = 2 << 30
START_SECONDS = 120.0
DETAIL = 2000  # characters of stderr that are kept


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    pipe: Connection
    errors: Path
    job: Job | None = None
    since: float = field(default_factory=time.monotonic)

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()

    def last_words(self) -> str:
        return self.errors.read_text(errors="replace")[-DETAIL:] if self.errors.exists() else ""


def tried(
    jobs: Iterator[Job], bundle: Path, seed: int, workers: int, report: Callable[[Outcome], None]
) -> None:
    """Does all jobs and reports each; a worker that hangs or dies is replaced."""
    with tempfile.TemporaryDirectory(prefix="omnijet-fuzz-") as scratch:
        crew: list[_Worker] = []
        try:
            for number in range(workers):
                crew.append(_started(bundle, seed, Path(scratch) / f"stderr-{number}"))
            while crew:
                for worker in _ready(crew):
                    outcome, alive = _heard(worker)
                    if outcome is not None:
                        report(outcome)
                    if not alive:
                        worker.end()
                        place = crew.index(worker)
                        crew[place] = worker = _started(bundle, seed, worker.errors)
                        continue
                    worker.job, worker.since = next(jobs, None), time.monotonic()
                    worker.pipe.send(worker.job)
                    if worker.job is None:
                        worker.process.join()
                        crew.remove(worker)
        finally:
            for worker in crew:
                worker.end()


def _started(bundle: Path, seed: int, errors: Path) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, bundle, seed, errors), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours, errors)


def _ready(crew: list[_Worker]) -> list[_Worker]:
    """Waits until workers have answered, died, or taken too long."""
    while True:
        spoke = wait([worker.pipe for worker in crew], timeout=0.5)
        found = [worker for worker in crew if worker.pipe in spoke or _is_late(worker)]
        if found:
            return found


def _is_late(worker: _Worker) -> bool:
    limit = START_SECONDS if worker.job is None else LONGEST_SECONDS
    return time.monotonic() - worker.since > limit


def _heard(worker: _Worker) -> tuple[Outcome | None, bool]:
    """Returns what became of the worker's job, if it had one, and whether it still works."""
    if worker.pipe.poll():
        try:
            outcome: Outcome | None = worker.pipe.recv()
        except EOFError:
            outcome = None
        else:
            if outcome is not None and outcome.peak_bytes > MOST_BYTES:
                outcome = replace(outcome, end="memory")
            return outcome, True
        end = "crash"
    else:
        end = "hang"
    if worker.job is None:
        raise RuntimeError(f"a worker did not start: {worker.last_words()}")
    seconds = time.monotonic() - worker.since
    return Outcome(worker.job, end, seconds, 0, worker.last_words()), False
