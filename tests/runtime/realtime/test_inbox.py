"""Events wait within bounds."""

from __future__ import annotations

import threading

from omnijet.runtime.realtime import inbox as module
from omnijet.runtime.realtime.inbox import Arrived, Inbox


def test_a_full_inbox_takes_nothing_until_something_is_taken() -> None:
    inbox = Inbox()
    count = 0
    while inbox.put({"type": "x"}):
        count += 1
    assert count == module.MOST_EVENTS and not inbox.wait_for_room(0)
    assert isinstance(inbox.take(), Arrived)
    assert inbox.wait_for_room(0) and inbox.put({"type": "x"})


def test_long_events_fill_it_by_their_length() -> None:
    inbox = Inbox()
    text = "a" * (module.MOST_CHARACTERS // 4)
    taken = [inbox.put({"item": {"content": [{"audio": text}]}}) for _ in range(6)]
    assert taken.count(True) in (3, 4) and not taken[-1]
    while inbox.take(0) is not None:
        pass
    assert inbox.put({"audio": text})


def test_work_goes_first_and_shutting_ends_who_waits() -> None:
    inbox, done = Inbox(), []
    inbox.put({"type": "x"})
    inbox.work(lambda: done.append(1))
    work = inbox.take()
    assert callable(work) and not isinstance(work, Arrived)
    assert isinstance(inbox.take(), Arrived)
    found: list[object] = []
    waiting = threading.Thread(target=lambda: found.append(inbox.take()))
    waiting.start()
    inbox.shut()
    waiting.join(10)
    assert found == [None] and inbox.is_shut and inbox.put({"type": "x"}) and inbox.take() is None
