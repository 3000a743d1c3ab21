"""A switch wakes whoever waits, also for something of its own."""

from __future__ import annotations

from queue import SimpleQueue

from omnijet.runtime.cancel import Cancellation


def test_a_thread_that_waits_for_something_else_is_woken() -> None:
    switch, woken = Cancellation(), SimpleQueue()  # type: tuple[Cancellation, SimpleQueue[str]]
    with switch.waking(lambda: woken.put("one")):
        assert woken.empty()
        with switch.waking(lambda: woken.put("two")):
            switch.cancel()
        assert [woken.get_nowait(), woken.get_nowait()] == ["one", "two"]
    with switch.waking(lambda: woken.put("late")):  # it was set before
        assert woken.get_nowait() == "late"
    switch.cancel()
    assert woken.empty()
