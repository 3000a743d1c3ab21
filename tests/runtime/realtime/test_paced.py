"""How much of an answer has sounded, by the clock."""

from __future__ import annotations

from omnijet.runtime.realtime.paced import Paced


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_no_more_sounds_than_was_sent_nor_than_the_time_allows() -> None:
    clock = Clock()
    paced = Paced(clock)
    clock.now += 5  # before the first sound nothing plays
    assert paced.played() == 0 and paced.is_over
    paced.send(48_000)
    clock.now += 0.5
    assert paced.played() == 12_000 and not paced.is_over
    clock.now += 10
    assert paced.played() == 48_000 and paced.is_over


def test_a_player_that_ran_dry_goes_on_with_what_comes() -> None:
    clock = Clock()
    paced = Paced(clock)
    paced.send(24_000)
    clock.now += 3  # a second sounded, for two there was nothing
    paced.send(24_000)
    clock.now += 0.25
    assert paced.played() == 30_000


def test_what_was_stopped_sounds_no_more() -> None:
    clock = Clock()
    paced = Paced(clock)
    paced.send(48_000)
    clock.now += 1
    paced.stop()
    clock.now += 1
    assert paced.played() == 24_000 and paced.is_over
