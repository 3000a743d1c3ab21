"""Turns share a lane by the seconds that their calls take, on a clock that only calls advance."""

from __future__ import annotations

import contextvars
import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from omnijet.runtime.backends.device_call import device_call, in_device_call
from omnijet.runtime.backends.lane import Lane
from omnijet.runtime.backends.lanes import Lanes, PassingBound, PassingGraph
from omnijet.runtime.backends.ticket import MARGIN_S, NEW_S, TICKET, Ticket
from omnijet.runtime.cancel import Cancellation, Cancelled

LATE_S = 20.0  # in which something must happen
FAR = 1e9  # seconds of sound that no listener hears the end of


def until(condition: Callable[[], bool]) -> None:
    """Waits for what another thread does."""
    waited = threading.Event()
    for _ in range(int(LATE_S / 0.001)):
        if condition():
            return
        waited.wait(0.001)
    raise AssertionError("it never came true")


@dataclass
class Road:
    """A lane, and the turns on it. A call lasts until all others wait: their order is certain."""

    now: float = 0.0
    went: list[str] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lane = Lane(clock=lambda: self.now, grace_s=LATE_S)

    @property
    def alive(self) -> int:
        return sum(turn.left > 0 for turn in self.turns)

    def order(self, turns: Sequence[Turn]) -> str:
        """Runs turns that come in this order to their end; returns who went when."""
        with device_call(), self.lane:
            for number, turn in enumerate(turns, start=1):
                self.turns.append(turn)
                turn.start(self)
                until(lambda number=number: self.lane.waiting == number)  # type: ignore[misc]
        for turn in turns:
            turn.join()
        return "".join(self.went)


class Turn:
    """A turn of some calls; it is a graph with buffers, too.

    Args:
        sounds_after: calls before its first sound, of which there is enough for ever.
    """

    inputs: dict[str, np.ndarray] = {}  # noqa: RUF012
    outputs: dict[str, np.ndarray] = {}  # noqa: RUF012

    def __init__(self, name: str, calls: int, cost: float, sounds_after: int | None = None) -> None:
        self.name, self.left, self.cost = name, calls, cost
        self.ticket = Ticket()
        self._sounds_after, self._done = sounds_after, 0
        self.following: Turn | None = None  # comes when this one ends
        if sounds_after == 0:
            self.ticket.sounded(FAR, 0.0)

    def start(self, road: Road) -> None:
        self.road, self._bound = road, PassingBound(self, road.lane)
        with self.ticket.used():
            context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._work,))
        self._thread.start()

    def join(self) -> None:
        self._thread.join(LATE_S)
        assert not self._thread.is_alive()

    def _work(self) -> None:
        while self.left:
            self._bound.run()
        self.road.lane.expect_no_more(self.ticket)

    def run(self) -> None:
        assert in_device_call()
        road = self.road
        until(lambda: road.lane.waiting == road.alive - 1)
        road.went.append(self.name)
        road.now += self.cost
        self.left -= 1
        self._done += 1
        if not self.left and (following := self.following) is not None:
            road.turns.append(following)
            following.start(road)
            until(lambda: road.lane.waiting == road.alive)
        if self._done == self._sounds_after:
            self.ticket.sounded(FAR, road.now)


def test_who_takes_longer_goes_less_often() -> None:
    went = Road().order([Turn("a", 30, 0.1, sounds_after=0), Turn("b", 10, 0.3, sounds_after=0)])
    for count in range(4, 36):
        so_far = went[:count]
        assert abs(0.1 * so_far.count("a") - 0.3 * so_far.count("b")) <= 0.3 + 1e-9


def test_turns_that_came_together_sound_one_after_another() -> None:
    turns = [Turn(name, 4, 0.1, sounds_after=3) for name in "abc"]
    assert Road().order(turns)[:9] == "aaabbbccc"


def test_a_new_turn_sounds_soon_beside_a_long_reply() -> None:
    road = Road()
    long = Turn("l", 100, 0.1, sounds_after=0)
    new = Turn("n", 8, 0.1, sounds_after=4)
    with device_call(), long.ticket.used():  # it has been there for long
        for _ in range(20):
            with road.lane:
                road.now += 1.0
    went = road.order([long, new])
    assert went.startswith("nnnn")
    # then they share: what was needed to sound is not counted
    assert went[4:12].count("n") in (3, 4)


def test_a_long_reply_is_not_starved_by_new_turns() -> None:
    road = Road()
    long, news = Turn("l", 60, 0.2, sounds_after=0), [Turn("n", 5, 0.2) for _ in range(16)]
    for one, following in itertools.pairwise(news):  # there is always one that has not sounded
        one.following = following
    went = road.order([long, news[0]])
    head = went.index("l")
    assert 0.2 * head <= 2 * NEW_S + 5 * 0.2  # and one turn
    for start in range(head, 60, 5):
        assert 6 <= went[start : start + 20].count("l") <= 14
    for one in news:
        one.join()


def test_who_takes_far_more_than_its_credit_waits() -> None:
    road = Road()
    hog = Turn("h", 100, 0.2)  # it never sounds: it only writes
    went = road.order([hog, Turn("l", 50, 0.2, sounds_after=0)])
    head = went.index("l")
    # what is not counted, and what is counted less
    assert 2 * NEW_S - 0.2 < 0.2 * head < 2 * NEW_S + 0.5
    assert abs(went[head : head + 40].count("l") - 20) <= 1


def test_replies_that_fall_behind_do_not_keep_a_new_turn_waiting() -> None:
    road = Road()
    behind = [Turn(f"{number}", 40, 0.1) for number in range(5)]
    for turn in behind:
        turn.ticket.sounded(0.0, -1.0)
    new = Turn("n", 4, 0.1, sounds_after=4)
    with device_call():
        for turn in behind * 30:  # they have been there for long
            with turn.ticket.used(), road.lane:
                road.now += 0.1
    went = road.order([*behind, new])
    assert went.startswith("nnnn")
    assert all(7 <= went[4:44].count(turn.name) <= 9 for turn in behind)


def test_who_runs_out_of_sound_goes_before_who_does_not() -> None:
    road = Road()
    dry, ahead = Turn("d", 4, 0.1), Turn("a", 4, 0.1, sounds_after=0)
    dry.ticket.sounded(MARGIN_S / 2, 0.0)
    assert road.order([ahead, dry]).startswith("dddd")
    assert road.went == list("ddddaaaa")


def test_nobody_saves_up_for_later() -> None:
    road = Road()
    early, late = Turn("e", 40, 0.5, sounds_after=0), Turn("l", 40, 0.5, sounds_after=0)
    for turn, calls in ((late, 1), (early, 100)):  # then one wants nothing for long
        with device_call(), turn.ticket.used():
            for _ in range(calls):
                with road.lane:
                    road.now += 0.5
    went = road.order([early, late])
    assert went[:6].count("e") >= 2


def test_threads_without_a_ticket_go_in_the_order_of_their_arrival() -> None:
    lane, went, threads = Lane(), [], []  # type: tuple[Lane, list[int], list[threading.Thread]]

    def go(number: int) -> None:
        with device_call(), lane:
            went.append(number)

    with device_call(), lane:
        for number in range(5):
            threads.append(threading.Thread(target=go, args=(number,)))
            threads[-1].start()
            until(lambda number=number: lane.waiting == number + 1)  # type: ignore[misc]
    for thread in threads:
        thread.join(LATE_S)
    assert went == list(range(5))


def test_waiting_ends_when_the_switch_is_set() -> None:
    lane, switch, ended = Lane(), Cancellation(), threading.Event()

    def wait() -> None:
        with switch.governing(), pytest.raises(Cancelled), device_call(), lane:
            raise AssertionError("somebody has the lane")
        ended.set()

    with device_call(), lane:
        thread = threading.Thread(target=wait)
        thread.start()
        until(lambda: lane.waiting == 1)
        switch.cancel()
        assert ended.wait(LATE_S) and lane.waiting == 0
        thread.join()
        thread = threading.Thread(target=wait)  # one that was set before
        thread.start()
        thread.join(LATE_S)
        assert not thread.is_alive() and lane.waiting == 0
    with device_call(), lane:  # it is free again
        pass


def test_who_is_let_in_and_cancelled_at_once_gives_the_lane_on() -> None:
    for _ in range(50):
        lane, switch, passed = Lane(), Cancellation(), threading.Event()

        def run() -> None:
            try:
                with switch.governing(), device_call(), lane:  # noqa: B023
                    pass
            except Cancelled:
                pass
            with device_call(), lane:  # noqa: B023
                passed.set()  # noqa: B023

        thread = threading.Thread(target=run)
        with device_call(), lane:
            thread.start()
            until(lambda: lane.waiting == 1)  # noqa: B023
            cancelling = threading.Thread(target=switch.cancel)
            cancelling.start()
        assert passed.wait(LATE_S)
        thread.join()
        cancelling.join()


def test_a_thread_enters_again_and_a_fault_frees_the_lane() -> None:
    lane, other = Lane(), threading.Event()
    with pytest.raises(ZeroDivisionError), device_call(), lane:
        with lane:
            pass
        thread = threading.Thread(target=lambda: enter(lane, other))
        thread.start()
        until(lambda: lane.waiting == 1)
        assert not other.is_set()
        raise ZeroDivisionError
    assert other.wait(LATE_S)
    thread.join()


def enter(lane: Lane, entered: threading.Event) -> None:
    with device_call(), lane:
        entered.set()


def test_calls_pass_freely_until_they_are_regulated() -> None:
    class Graph:
        growth = None
        joins = False

        class contract:
            name = "thinker_step"

        def bind(self, sizes: object, state: object, kept: bool) -> Turn:
            return Turn("t", 1, 0.0)

    lanes = Lanes()
    graph = PassingGraph(Graph(), lanes)  # type: ignore[arg-type]
    assert isinstance(graph.bind({}), Turn)
    lanes.regulate()
    writing = lanes.writing
    lanes.regulate()
    assert isinstance(graph.bind({}), PassingBound)
    assert writing is lanes.writing is lanes.of("talker_step") is not lanes.of("vocoder")
    assert lanes.of("vocoder") is lanes.speaking and TICKET.get() is None
