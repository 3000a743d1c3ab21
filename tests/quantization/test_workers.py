"""Processes that do work in order: results, faults, the end."""

from __future__ import annotations

import operator
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from omnijet.quantization.workers import in_turn, workers
from omnijet.runtime.errors import OmnijetError


def slow_first(number: int) -> tuple[int, int]:
    """Takes longest for the first item, so that later ones are done before it."""
    time.sleep(0.3 if number == 0 else 0)
    return number, os.getpid()


def reciprocal(number: int) -> float:
    return 1 / number


def threads(_: int) -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


def search_path(_: int) -> list[str]:
    import sys

    return sys.path


def dies(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def gone(process: int) -> bool:
    """Returns whether a process has ended, waited for or not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def test_results_come_in_order_and_from_all_processes() -> None:
    with workers(3) as run:
        found = list(run(slow_first, range(9)))
    assert [number for number, _ in found] == list(range(9))
    assert len({process for _, process in found}) == 3
    assert all(gone(process) for _, process in found)
    assert list(in_turn(operator.neg, [3, 1])) == [-3, -1]


def test_work_is_taken_only_when_there_is_room_for_its_result() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    with workers(2) as run:
        results = run(operator.neg, items())
        assert next(results) == 0
        time.sleep(0.5)
        assert len(taken) == 3  # two processes, and one more that waits
        assert len(list(results)) == 19


def test_a_process_computes_in_one_thread_and_sees_no_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('taken from the current folder')")
    monkeypatch.chdir(tmp_path)
    with workers(1) as run:
        assert list(run(threads, [0])) == ["1"]
        (path,) = run(search_path, [0])
    assert "" not in path and str(tmp_path) not in path


def test_faults_are_raised_here() -> None:
    with workers(2) as run, pytest.raises(ZeroDivisionError):
        list(run(reciprocal, [1, 0, 1]))
    with workers(1) as run, pytest.raises(OmnijetError, match="ended before") as caught:
        list(run(dies, [0]))
    assert "signal 9" in str(caught.value.got)


def test_an_interrupt_ends_processes_that_are_at_work() -> None:
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), workers(2) as run:
        results = run(time.sleep, [0, 600, 600])
        next(results)
        raise KeyboardInterrupt
    assert time.monotonic() - began < 60


def test_processes_end_with_a_parent_that_is_killed() -> None:
    reads, writes = os.pipe()
    parent = os.fork()
    if not parent:
        with workers(2) as run:
            found = [process for _, process in run(slow_first, range(4))]
            os.write(writes, " ".join(map(str, found)).encode())
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(parent, 0)
    processes = {int(one) for one in os.read(reads, 1000).split()}
    os.close(reads)
    os.close(writes)
    deadline = time.monotonic() + 30
    while not all(map(gone, processes)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(processes) == 2
