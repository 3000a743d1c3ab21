"""A thread's items reach the event loop in order and in bounds; it ends with its reader."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from omnijet.runtime.cancel import Cancellation
from omnijet.runtime.serve.bridge import ITEMS, Bridge, Gone

T = TypeVar("T")
PATIENCE_S = 30.0


def run(made: Callable[[], Awaitable[T]]) -> T:
    return asyncio.run(asyncio.wait_for(made(), PATIENCE_S))  # type: ignore[arg-type]


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.001)


def test_items_come_in_order_and_the_error_after_them() -> None:
    def work(bridge: Bridge[int]) -> None:
        for number in range(100):
            bridge.put(number)
        raise ValueError("after all")

    async def read() -> list[int]:
        bridge = Bridge(work)
        bridge.start()
        found = []
        with pytest.raises(ValueError, match="after all"):
            while (item := await bridge.take()) is not None:
                found.append(item)
        assert await bridge.take() is None
        return found

    assert run(read) == list(range(100))


def test_a_slow_reader_makes_the_thread_wait() -> None:
    put: list[int] = []

    def work(bridge: Bridge[int]) -> None:
        for number in range(10 * ITEMS):
            bridge.put(number)
            put.append(number)

    async def read() -> None:
        bridge = Bridge(work)
        bridge.start()
        await until(lambda: len(put) == ITEMS)
        for number in range(10 * ITEMS):
            assert len(put) <= ITEMS + number
            assert await bridge.take() == number
        assert await bridge.take() is None

    run(read)


@pytest.mark.parametrize("is_full", [True, False])
def test_a_reader_that_leaves_ends_the_thread(is_full: bool) -> None:
    ended, cancellation = threading.Event(), Cancellation()

    def work(bridge: Bridge[int]) -> None:
        try:
            bridge.when_gone(cancellation.cancel)
            bridge.put(0)
            while is_full:
                bridge.put(1)
            with cancellation.changed:
                cancellation.changed.wait_for(lambda: cancellation.is_set)
            with pytest.raises(Gone):
                bridge.check()
        finally:
            ended.set()

    async def read() -> None:
        bridge = Bridge(work)
        bridge.start()
        assert await bridge.take() == 0
        bridge.leave()
        bridge.leave()
        await until(ended.is_set)

    run(read)
    assert cancellation.is_set or is_full


def test_what_is_to_be_done_is_done_though_the_reader_left_before() -> None:
    called = threading.Event()

    def work(bridge: Bridge[int]) -> None:
        bridge.when_gone(called.set)

    async def read() -> None:
        bridge = Bridge(work)
        bridge.leave()
        bridge.start()
        await until(called.is_set)

    run(read)
