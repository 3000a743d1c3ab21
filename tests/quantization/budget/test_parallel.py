"""Parallel measurements: in processes, and on a cluster of two workers."""

from __future__ import annotations

import multiprocessing
import operator
import time

import pytest

from omnijet.quantization.budget.parallel import processes, ray_cluster
from omnijet.runtime.errors import OmnijetError

NUMBERS = [3, -1, 4, -1, 5]


def test_processes_do_all_of_it() -> None:
    with processes(2) as run:
        assert dict(run(operator.neg, NUMBERS)) == dict(enumerate([-3, 1, -4, 1, -5]))


def reciprocal(number: int) -> float:
    return 1 / number


def test_a_fault_in_a_process_is_told() -> None:
    with processes(2) as run, pytest.raises(ZeroDivisionError):
        list(run(reciprocal, [1, 0]))


def test_an_interrupt_ends_the_processes() -> None:
    deadline = time.monotonic() + 60
    with pytest.raises(KeyboardInterrupt), processes(2) as run:
        for number, _ in run(time.sleep, [0, 600, 600, 600]):
            assert number == 0
            raise KeyboardInterrupt
    while multiprocessing.active_children():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_cluster_of_two_workers_does_all_of_it() -> None:
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    with ray_cluster("local") as run:
        assert dict(run(operator.neg, NUMBERS)) == dict(enumerate([-3, 1, -4, 1, -5]))
        with pytest.raises(ZeroDivisionError):
            list(run(reciprocal, [1, 0]))


def test_a_cluster_that_does_not_answer_is_told() -> None:
    with pytest.raises(OmnijetError, match="cannot be reached"), ray_cluster("127.0.0.1:1"):
        pass
