"""Whoever ends the workers finds them gone; only a worker does not wait for others."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from omnijet.runtime.backends.device_call import device_call, in_device_call
from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.backends.ort_gpu.gate import Gate
from omnijet.runtime.backends.ort_graph import OrtGraph
from omnijet.runtime.bundle.contract import Array, GraphContract
from omnijet.runtime.cancel import Cancellation
from omnijet.runtime.omni import Omni
from omnijet.runtime.shortage import OutOfMemory
from omnijet.runtime.talk.workers import Workers

SOON = 0.1  # seconds in which nothing may happen
LATE = 10.0  # seconds in which something must


class Slow:
    """A worker in the middle of a graph call that lasts until `release`."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.cancellation = Cancellation()
        self.workers = Workers(self.cancellation, {"slow": self.release.wait})
        self.workers.start()

    def end(self) -> threading.Event:
        """Ends it from a new thread; the event is set once that has come back."""
        ended = threading.Event()
        threading.Thread(target=lambda: (self.workers.end(), ended.set())).start()
        return ended


def test_everyone_who_ends_them_waits() -> None:
    slow = Slow()
    first = slow.end()
    second = slow.end()  # finds them told already, and not yet gone
    assert not first.wait(SOON) and not second.wait(SOON) and slow.cancellation.is_set
    slow.release.set()
    assert first.wait(LATE) and second.wait(LATE)
    slow.workers.end()


def test_they_work_in_the_context_of_their_maker() -> None:
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name")
    seen: list[str] = []
    token = name.set("maker")
    workers = Workers(Cancellation(), {"looking": lambda: seen.append(name.get())})
    name.reset(token)
    workers.start()
    for thread in workers._threads:
        thread.join(LATE)
    assert seen == ["maker"]


def test_a_worker_tells_others_and_waits_for_none() -> None:
    slow, done = Slow(), threading.Event()

    def collect() -> None:  # as the garbage collector may, in any thread
        slow.workers.end()
        done.set()

    collecting = Workers(Cancellation(), {"collecting": collect})
    collecting.start()
    assert done.wait(LATE) and slow.cancellation.is_set
    slow.release.set()
    for workers in (slow.workers, collecting):
        workers.end()


def test_a_thread_that_the_system_refused_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cancellation = Cancellation()
    workers = Workers(cancellation, {"write": lambda: None, "speak": lambda: None})
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.endswith("speak"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(OutOfMemory, match="refused a thread"):
        workers.start()
    workers.end()
    assert cancellation.is_set


def test_their_threads_hold_up_no_exit_and_are_named() -> None:
    slow = Slow()
    (thread,) = (t for t in threading.enumerate() if t.name == "omnijet-slow")
    assert thread.daemon
    slow.release.set()
    slow.workers.end()
    assert not thread.is_alive()


def test_a_thread_in_a_device_call_does_not_wait_for_workers_that_want_one() -> None:
    """The garbage collector may end a stream there."""
    lock = threading.Lock()
    cancellation = Cancellation()

    def work() -> None:
        with lock:
            pass

    workers = Workers(cancellation, {"work": work})
    with device_call(), lock:
        workers.start()
        workers.end()
        with device_call():
            pass
        assert in_device_call()
    assert not in_device_call()
    workers.end()
    assert not [one for one in threading.enumerate() if one.name == "omnijet-work"]


def test_the_locks_of_a_model_are_held_in_device_calls(nano: tuple[Path, Path]) -> None:
    """A worker that waits for such a lock is not joined by the thread that holds it."""
    loads: list[bool] = []

    class Noting(OrtBackend):
        def load(self, path: Path, contract: GraphContract) -> OrtGraph:
            loads.append(in_device_call())
            return super().load(path, contract)

    def pieces() -> Iterator[Array]:
        yield np.array(in_device_call())

    with Omni.open(nano[1], backend=Noting(1)) as omni:
        omni.model.graph("vocoder")
        assert omni.model.next_piece(pieces())
    assert loads == [True] and not in_device_call()


def test_an_interrupt_at_the_gate_leaves_it_open(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()

    def interrupt(timeout: float | None = None) -> bool:
        raise KeyboardInterrupt

    with gate.shared():
        monkeypatch.setattr(gate._changed, "wait", interrupt)
        with pytest.raises(KeyboardInterrupt), gate.alone():
            raise AssertionError("somebody is inside")
        monkeypatch.undo()
    with gate.shared():
        pass
    with gate.alone():
        pass
