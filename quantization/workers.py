"""Processes that round layers beside each other; results come in the order of the work."""

from __future__ import annotations

import os
import pickle
import subprocess
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, TypeVar

from omnijet.quantization.budget.parallel import HELPER
from omnijet.runtime.child.start import start
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.leftovers import leftover

Given = TypeVar("Given")
Found = TypeVar("Found")
Ordered = Callable[[Callable[[Given], Found], Iterable[Given]], Iterator[Found]]
"""Runs a function on each item and yields the results in their order."""

ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
"""Each process computes in one thread, so that its results do not depend on the machine."""


def in_turn(work: Callable[[Given], Found], each: Iterable[Given]) -> Iterator[Found]:
    """Does the same in this process, for work that is not worth a process."""
    return map(work, each)


@contextmanager
def workers(count: int) -> Iterator[Ordered[Any, Any]]:
    """Yields a runner with `count` fresh processes, which end with the block in any case.

    numpy's operations on parts that fit in a cache take a few microseconds each, and threads would
    spend as long waiting for each other: one process for each core is twice as fast as threads.

    At most one result for each process waits to be taken. The function must be importable.
    """
    idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
    started: list[subprocess.Popen[bytes]] = []
    pool = ThreadPoolExecutor(count, "omnijet-rounding")

    def kill() -> None:
        for process in started:
            process.kill()

    def run(work: Callable[[Given], Found], each: Iterable[Given]) -> Iterator[Found]:
        waiting: deque[Future[Found]] = deque()
        for given in each:
            waiting.append(pool.submit(_asked, idle, work, given))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    with leftover(kill):
        try:
            for _ in range(count):
                pipe = subprocess.PIPE
                started.append(start(HELPER, env=ONE_THREAD, stdin=pipe, stdout=pipe))
                idle.put(started[-1])
            yield run
        finally:
            kill()  # which ends the threads, too
            pool.shutdown(cancel_futures=True)
            for process in started:
                process.communicate()


def core_count() -> int:
    """Returns the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _asked(
    idle: SimpleQueue[subprocess.Popen[bytes]], work: Callable[[Given], Found], given: Given
) -> Found:
    """Has a process do one piece of work. Raises what the work raised there."""
    process = idle.get()
    try:
        assert process.stdin is not None and process.stdout is not None
        pickle.dump((work, given), process.stdin, protocol=5)
        process.stdin.flush()
        is_good, found = pickle.load(process.stdout)
    except (OSError, EOFError, pickle.UnpicklingError, ValueError) as error:
        process.kill()
        raise _ended(process.wait()) from error
    finally:
        idle.put(process)
    if not is_good:
        raise found
    result: Found = found
    return result


def _ended(code: int) -> OmnijetError:
    return OmnijetError(
        "a process that rounds layers ended before its result",
        expected="memory for a layer in each of them",
        got=f"signal {-code}" if code < 0 else f"exit code {code}",
        fix="close other programs, and run the same command again",
    )
