from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from omnijet.runtime.cancel import never
from omnijet.runtime.media.packets import CHECK_EVERY, packets_of


class Joined:
    """A container with packets of a track that its header does not announce, as PyAV has it."""

    def __init__(self, packets: list[int | None]) -> None:
        self.packets = packets

    def demux(self, stream: Any) -> Iterator[int]:
        while self.packets:
            packet = self.packets.pop(0)
            if packet is None:
                raise IndexError("list index out of range")
            yield packet


def test_tracks_that_begin_later_are_passed_over() -> None:
    container: Any = Joined([1, 2, None, None, 3, None])
    assert list(packets_of(container, container, never)) == [1, 2, 3]


def test_reading_looks_whether_it_is_cancelled() -> None:
    checks: list[None] = []
    container: Any = Joined([0] * (3 * CHECK_EVERY))
    list(packets_of(container, container, lambda: checks.append(None)))
    assert len(checks) == 3
