"""Nothing is lost or reordered; whoever waits hears of the end, a fault and a cancel."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from omnijet.runtime.cancel import Cancellation, Cancelled
from omnijet.runtime.talk.channel import Channel

SOON = 0.05  # seconds in which nothing may happen
LATE = 10.0  # seconds in which something must


def begun(work: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """A thread that waits in `work`, and what will come of it: a result or `Cancelled`."""
    came: list[object] = []

    def run() -> None:
        try:
            came.append(work())
        except Cancelled:
            came.append(Cancelled)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SOON)
    assert thread.is_alive() and not came
    return thread, came


@pytest.fixture
def switch() -> Cancellation:
    return Cancellation()


def test_first_in_first_out(switch: Cancellation) -> None:
    channel: Channel[int] = Channel(5, switch)
    for item in range(5):
        channel.put(item)
    assert [channel.take(), channel.take(3), channel.take(9)] == [[0], [1, 2, 3], [4]]


def test_a_slow_reader_makes_the_writer_wait_and_gets_everything(switch: Cancellation) -> None:
    channel: Channel[int] = Channel(2, switch)

    def write() -> None:
        for item in range(1000):
            channel.put(item)
        channel.end()

    thread, _ = begun(write)  # waits, though nobody has read
    got = list(iter(lambda: channel.take(3), []))
    thread.join(LATE)
    assert [item for batch in got for item in batch] == list(range(1000)) and max(
        map(len, got)
    ) <= 2
    assert channel.take() == []


@pytest.mark.parametrize("waiting", ["writer", "reader"])
def test_who_waits_hears_of_a_cancel(switch: Cancellation, waiting: str) -> None:
    channel: Channel[int] = Channel(1, switch)
    if waiting == "writer":
        channel.put(0)
    thread, came = begun(channel.take if waiting == "reader" else lambda: channel.put(1))
    switch.cancel()
    thread.join(LATE)
    assert came == [Cancelled]


def test_a_waiting_reader_hears_of_the_end(switch: Cancellation) -> None:
    channel: Channel[int] = Channel(1, switch)
    thread, came = begun(channel.take)
    channel.end()
    thread.join(LATE)
    assert came == [[]]


def test_a_fault_comes_before_what_was_not_read_and_once(switch: Cancellation) -> None:
    channel: Channel[int] = Channel(3, switch)
    channel.put(1)
    channel.end(ValueError("broken"))
    channel.end()  # a second end takes nothing back
    with pytest.raises(ValueError, match="broken"):
        channel.take()
    assert channel.take() == []
