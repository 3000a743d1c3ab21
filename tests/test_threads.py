"""A thread that a test leaves behind is found, and found in that test alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import no_thread_is_left
from tests.threads import begin_test, new_threads


@contextmanager
def running(name: str) -> Iterator[None]:
    """Runs a thread that waits."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name=name)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def test_only_threads_of_this_test_count() -> None:
    with running("omnijet-earlier"):
        begin_test()
        assert not new_threads()
        with running("omnijet-new"), running("another"):
            assert new_threads() == ["omnijet-new"]
        assert not new_threads()


def test_a_thread_that_is_left_fails_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.conftest.GRACE_S", 0.05)
    check = no_thread_is_left.__wrapped__()
    next(check)
    with running("omnijet-left"), pytest.raises(AssertionError, match="omnijet-left"):
        next(check)
