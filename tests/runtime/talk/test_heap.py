"""What a process gives back once the heap is kept small, and when it is left alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from omnijet.runtime.talk.heap import keep_heap_small

ROOT = Path(__file__).parents[3]
GLIBC = "glibc" in os.confstr("CS_GNU_LIBC_VERSION") if hasattr(os, "confstr") else False
pytestmark = pytest.mark.skipif(not GLIBC, reason="the C library is not glibc")

# Threads that free all but a crumb on top of it, as those of a conversation do.
CHURN = """
import sys, threading
import numpy as np
from omnijet.runtime.talk.heap import keep_heap_small
from tools.endurance.resident import Reading

print(keep_heap_small())
np.ones(20_000_000, np.uint8)  # and freed: from now on glibc keeps blocks of up to that size
crumbs = []

def work():
    picture = np.ones(10_000_000, np.uint8)
    crumbs.append(np.ones(2000, np.uint8))

before = Reading.take(0).resident
for _ in range(4):
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print(Reading.take(1).resident - before)
"""


def churn(**environment: str) -> tuple[str, int]:
    """Whether the heap was settled, and bytes that a process was left with."""
    kept = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    done = subprocess.run(
        [sys.executable, "-c", CHURN], cwd=ROOT, env={**kept, **environment},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    settled, left = done.stdout.split()
    return settled, int(left)


def test_what_threads_free_is_given_back() -> None:
    settled, left = churn()
    assert settled == "True" and left < 2_000_000
    # what it is for: without it the same work leaves its pictures behind
    settled, left = churn(GLIBC_TUNABLES="glibc.malloc.perturb=0")
    assert settled == "False" and left > 9_000_000


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_"])
def test_who_has_settled_it_is_left_alone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "4")
    assert not keep_heap_small()


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_heap_small()
