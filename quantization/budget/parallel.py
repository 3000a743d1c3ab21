"""Runs independent measurements in parallel: in processes here, or on a Ray cluster."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, TypeVar

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.leftovers import leftover

Given = TypeVar("Given")
Found = TypeVar("Found")
Run = Callable[[Callable[[Given], Found], Sequence[Given]], Iterator[tuple[int, Found]]]
"""Runs a function on each item; yields (index, result) as results arrive."""


@contextmanager
def processes(count: int | None = None) -> Iterator[Run[Any, Any]]:
    """Yields a runner with fresh processes, by default one for each core.

    The function that it runs must be importable. On an exception, Ctrl-C included, the processes
    are killed.
    """
    pool = ProcessPoolExecutor(count or os.cpu_count(), get_context("spawn"))
    started: list[Any] = []  # the pool forgets its processes when it is shut down

    def kill() -> None:
        for process in started:
            process.kill()

    with pool, leftover(kill):

        def run(
            work: Callable[[Given], Found], each: Sequence[Given]
        ) -> Iterator[tuple[int, Found]]:
            with _deaf_to_interrupts():
                futures = {pool.submit(work, given): number for number, given in enumerate(each)}
            started.extend((pool._processes or {}).values())
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            except BrokenExecutor as error:
                raise OmnijetError(
                    "a process of the trials ended before its result",
                    expected="memory for the float model in each of them",
                    got=str(error),
                    fix="close other programs, or spread the trials over machines with --ray",
                ) from error
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

        try:
            yield run
        except BaseException:
            kill()
            raise


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Keeps Ctrl-C from the processes that are started: whoever started them kills them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def ray_cluster(address: str) -> Iterator[Run[Any, Any]]:
    """Yields a runner with tasks of one core each on a Ray cluster.

    All machines must have omnijet installed and see bundle and scratch folder at the same paths.

    Args:
        address: `ray://HOST:PORT`, `HOST:PORT`, `auto`, or `local` for a cluster on this machine.

    Raises:
        OmnijetError: ray is not installed, or nothing answers.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise OmnijetError(
            "trials on a cluster need Ray",
            expected="the extra [ray]",
            got=f"no module named {error.name}",
            fix='pip install "omnijet[ray]", or leave --ray out',
        ) from error
    try:
        _require_listener(address)
        ray.init(address, log_to_driver=False, configure_logging=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise OmnijetError(
            "the Ray cluster cannot be reached",
            where=address,
            expected="the address of a running cluster",
            got=(str(error).splitlines() or [type(error).__name__])[0],
            fix="start it with `ray start --head`, or leave --ray out",
        ) from error

    def run(work: Callable[[Given], Found], each: Sequence[Given]) -> Iterator[tuple[int, Found]]:
        # Ray takes plain functions only, no bound or partial ones
        task: Any = ray.remote(num_cpus=1)(lambda given: work(given))
        waiting = {task.remote(given): number for number, given in enumerate(each)}
        while waiting:
            (done,), _ = ray.wait(list(waiting), num_returns=1)
            yield waiting.pop(done), ray.get(done)

    try:
        yield run
    finally:
        ray.shutdown()


def _require_listener(address: str) -> None:
    """Checks that something listens, because Ray waits for minutes and then ends the process.

    Raises:
        OSError: nothing listens.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=5).close()
