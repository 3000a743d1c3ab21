"""Runs independent measurements in parallel: in processes here, or on a Ray cluster."""

from __future__ import annotations

import os
import pickle
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from omnijet.runtime.child.start import start
from omnijet.runtime.cluster.join import joined
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.leftovers import leftover

HELPER = "omnijet.quantization.budget.helper"

Given = TypeVar("Given")
Found = TypeVar("Found")
Run = Callable[[Callable[[Given], Found], Sequence[Given]], Iterator[tuple[int, Found]]]
"""Runs a function on each item; yields (index, result) as results arrive."""
_Answer = tuple[int, bool, Any]
"""The number of an item, whether it was done, and the result or the exception."""


@contextmanager
def processes(count: int | None = None) -> Iterator[Run[Any, Any]]:
    """Yields a runner with fresh processes, by default one for each core.

    The function that it runs must be importable. After an exception the runner is of no more use.
    The processes end with the block in any case.
    """
    started: list[subprocess.Popen[bytes]] = []
    threads: list[Thread] = []

    def kill() -> None:
        for process in started:
            process.kill()

    def run(work: Callable[[Given], Found], each: Sequence[Given]) -> Iterator[tuple[int, Found]]:
        while len(started) < min(count or os.cpu_count() or 1, len(each)):
            started.append(start(HELPER, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        waiting = deque(enumerate(each))
        answers: SimpleQueue[_Answer] = SimpleQueue()
        for process in started:
            threads.append(Thread(target=_supply, args=(process, work, waiting, answers)))
            threads[-1].start()
        for _ in each:
            number, is_good, found = answers.get()
            if not is_good:
                raise found
            yield number, found

    with leftover(kill):
        try:
            yield run
        finally:
            kill()  # which ends the threads, too
            for thread in threads:
                thread.join()
            for process in started:
                process.communicate()


def _supply(
    process: subprocess.Popen[bytes], work: Callable[[Given], Any],
    waiting: deque[tuple[int, Given]], answers: SimpleQueue[_Answer],
) -> None:  # fmt: skip
    """Has a process do what is waiting, one after another, until nothing is or it has ended."""
    assert process.stdin is not None and process.stdout is not None
    while True:
        try:
            number, given = waiting.popleft()
        except IndexError:
            return
        try:
            process.stdin.write(pickle.dumps((work, given)))
            process.stdin.flush()
            is_good, found = pickle.load(process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            process.kill()
            is_good, found = False, _ended(process.wait())
        except Exception as error:  # of the function's or the argument's own pickling
            is_good, found = False, error
        answers.put((number, is_good, found))


def _ended(code: int) -> OmnijetError:
    return OmnijetError(
        "a process of the trials ended before its result",
        expected="memory for the float model in each of them",
        got=f"signal {-code}" if code < 0 else f"exit code {code}",
        fix="close other programs, or spread the trials over machines with --ray",
    )


@contextmanager
def ray_cluster(address: str) -> Iterator[Run[Any, Any]]:
    """Yields a runner with tasks of one core each on a Ray cluster.

    All machines must have omnijet installed and see bundle and scratch folder at the same paths.

    Args:
        address: `ray://HOST:PORT`, `HOST:PORT`, `auto`, or `local` for a cluster on this machine.

    Raises:
        OmnijetError: ray is not installed, or nothing answers.
    """
    with joined(address, "trials on a cluster"):
        yield _on_ray


def _on_ray(work: Callable[[Given], Found], each: Sequence[Given]) -> Iterator[tuple[int, Found]]:
    import ray

    # Ray takes plain functions only, no bound or partial ones
    task: Any = ray.remote(num_cpus=1)(lambda given: work(given))
    waiting = {task.remote(given): number for number, given in enumerate(each)}
    while waiting:
        (done,), _ = ray.wait(list(waiting), num_returns=1)
        yield waiting.pop(done), ray.get(done)
