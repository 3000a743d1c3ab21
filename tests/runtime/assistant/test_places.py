"""So many turns at once; the others wait in order, and not for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from omnijet.runtime.assistant.busy import Busy
from omnijet.runtime.assistant.limits import Limits
from omnijet.runtime.assistant.places import LONGEST_RETRY_S, SEAT_SHARE, Places
from omnijet.runtime.cancel import Cancellation, Cancelled

LATE_S = 20.0  # in which something must happen


class Visitor:
    """A turn that comes, waits in a thread of its own, and says what became of it."""

    def __init__(self, places: Places, seat: str, came: list[str]) -> None:
        self.switch = Cancellation()
        self.ended: str | None = None
        before = places.waiting
        self._thread = threading.Thread(target=self._run, args=(places, seat, came))
        self._thread.start()
        until(lambda: places.waiting > before or not self._thread.is_alive())

    def _run(self, places: Places, seat: str, came: list[str]) -> None:
        try:
            places.take(seat, self.switch)
        except (Busy, Cancelled) as error:
            self.ended = getattr(error, "reason", "cancelled")
        else:
            came.append(seat)

    def join(self) -> None:
        self._thread.join(LATE_S)
        assert not self._thread.is_alive()


def until(condition: Callable[[], bool]) -> None:
    """Waits for what another thread does."""
    waited = threading.Event()
    for _ in range(int(LATE_S / 0.002)):
        if condition():
            return
        waited.wait(0.002)
    raise AssertionError("it never came true")


def places(**limits: float) -> Places:
    return Places(Limits(**{"turns": 1, "waiting": 8, "wait_s": LATE_S, **limits}))  # type: ignore[arg-type]


def test_turns_come_in_the_order_of_their_arrival() -> None:
    room, came = places(turns=2), []  # type: tuple[Places, list[str]]
    room.take("a")
    room.take("b")
    visitors = [Visitor(room, name, came) for name in "cdef"]
    assert (room.running, room.waiting) == (2, 4)
    for number, name in enumerate("abcd"):
        room.give(name, 1.0)
        until(lambda number=number: len(came) == number + 1)  # type: ignore[misc]
        assert room.running == 2
    for one in visitors:
        one.join()
    assert came == list("cdef") and room.waiting == 0


def test_a_seat_with_fewer_turns_goes_first() -> None:
    room, came = places(turns=2), []  # type: tuple[Places, list[str]]
    room.take("greedy")
    room.take("other")
    visitors = [Visitor(room, name, came) for name in ("greedy", "greedy", "modest")]
    room.give("other", 1.0)
    until(lambda: bool(came))
    assert came == ["modest"]
    room.close()
    for one in visitors:
        one.join()


def test_the_queue_is_bounded_for_all_and_for_each() -> None:
    room, came = places(waiting=SEAT_SHARE + 1), []  # type: tuple[Places, list[str]]
    room.take("a")
    visitors = [Visitor(room, "greedy", came) for _ in range(SEAT_SHARE)]
    with pytest.raises(Busy, match="wait for a place") as greedy:
        room.take("greedy")
    assert greedy.value.reason == "queue" and room.waiting == SEAT_SHARE
    visitors.append(Visitor(room, "modest", came))
    with pytest.raises(Busy):
        room.take("third")
    room.close()
    for one in visitors:
        one.join()
    assert {one.ended for one in visitors} == {"closing"} and not came


def test_the_time_to_try_again_follows_from_the_turns_before() -> None:
    room = places(waiting=0)

    def retry_after() -> int:
        with pytest.raises(Busy) as busy:
            room.take("b")
        return busy.value.retry_after_s

    room.take("a")
    assert retry_after() == 1
    room.give("a", 7.2)
    room.take("a")
    assert retry_after() == 8
    room.give("a", 1e4)
    room.take("a")
    assert retry_after() == LONGEST_RETRY_S


def test_waiting_ends_in_time() -> None:
    room = places(wait_s=0.05)
    room.take("a")
    with pytest.raises(Busy, match="in time") as busy:
        room.take("b")
    assert busy.value.reason == "queue"
    assert (room.running, room.waiting) == (1, 0)


def test_waiting_is_abandoned_by_another_thread() -> None:
    room, came = places(), []  # type: tuple[Places, list[str]]
    room.take("a")
    first, second = Visitor(room, "b", came), Visitor(room, "c", came)
    first.switch.cancel()
    first.join()
    assert first.ended == "cancelled" and room.waiting == 1
    room.give("a", 1.0)
    second.join()
    assert came == ["c"]
    with pytest.raises(Cancelled):
        room.take("d", first.switch)
    assert (room.running, room.waiting) == (1, 0)


def test_whoever_waits_for_the_end_sees_it() -> None:
    room = places()
    room.take("a")
    assert not room.wait_empty(0.01)
    room.close()
    with pytest.raises(Busy) as busy:
        room.take("b")
    assert busy.value.reason == "closing"
    giving = threading.Timer(0.01, room.give, ("a", 1.0))
    giving.start()
    assert room.wait_empty(LATE_S)
    giving.join()
