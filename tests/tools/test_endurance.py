"""A short run of `tools.endurance` passes, and each fault that it looks for is found."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import cycle, islice, product
from mmap import mmap
from multiprocessing import get_context
from pathlib import Path
from random import Random

import pytest

from omnijet.nano.evaluation.heldout import open_set
from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.model.decoder import Context
from omnijet.runtime.omni import Omni
from omnijet.runtime.speech.presets import PRESETS
from omnijet.runtime.talk.heap import keep_heap_small
from omnijet.runtime.talk.workers import Workers
from tools.endurance import cancels, probe
from tools.endurance.__main__ import report
from tools.endurance.cancels import Cancels
from tools.endurance.demands import demands
from tools.endurance.probe import Latency
from tools.endurance.questions import KINDS, LENGTHS, Limits, Questions
from tools.endurance.resident import Reading, wait_for, workers
from tools.endurance.run import Findings, Plan, converse, endure
from tools.endurance.turns import CONTEXT

SHORT = Plan(turns=160, cancels=15, limits=Limits(6, 41, 11))


def opened(bundle: Path) -> Omni:
    return Omni.open(bundle, backend=OrtBackend(threads=1), context_limit=CONTEXT)


@pytest.fixture(scope="module")
def small(nano: tuple[Path, Path]) -> Iterator[Omni]:
    with opened(nano[1]) as omni:
        yield omni


def unmet(found: Findings, plan: Plan = SHORT) -> list[str]:
    """Returns the demands that are not met, without latencies, which need an idle machine."""
    return [d.name for d in demands(found, plan) if not d.met and "latency" not in d.name]


def run_alone(bundle: Path) -> Findings:
    """Runs in a second process, set up as a long-running host does."""
    keep_heap_small()
    probe.REPEATS = 2
    return endure(opened(bundle), SHORT)


def test_a_short_run_meets_every_demand(nano: tuple[Path, Path]) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        found = pool.submit(run_alone, nano[1]).result()
    assert not unmet(found), (found.turn_faults, found.cut_faults, found.readings, found.threads)
    assert all(found.turns[what] for what in ("overflows", "forks", "listened to", "watch"))
    assert found.cuts["something was written"] and found.slowest_end < 1
    assert found.early is not None and found.late is not None


def test_every_kind_has_met_every_preset_before_memory_counts() -> None:
    """On a long run, every kind has also met every length of reply."""
    met = set(islice(zip(cycle(KINDS), cycle(PRESETS), strict=False), SHORT.warm))
    assert met == set(product(KINDS, PRESETS))
    met = set(islice(zip(cycle(KINDS), cycle(LENGTHS), strict=False), Plan().warm))
    assert met == set(product(KINDS, LENGTHS))


class Leaking:
    """Turns that ask no model and keep a number of bytes each.

    The bytes are in new pages, because free heap of earlier tests would hide them.
    """

    def __init__(self, size: int) -> None:
        self.omni, self.counts, self.kept = None, {}, []
        self._size = size

    def take(self) -> None:
        self.kept.append(kept := mmap(-1, self._size))
        kept.write(bytes(self._size))

    def reset(self) -> None:
        pass


@pytest.mark.parametrize(("bytes_a_turn", "grows"), [(1, False), (1_000_000, True)])
def test_what_turns_keep_is_noticed(
    monkeypatch: pytest.MonkeyPatch, bytes_a_turn: int, grows: bool
) -> None:
    monkeypatch.setattr(Latency, "measure", staticmethod(lambda *rest: Latency(1, 2, 3)))
    found = Findings()
    converse(Leaking(bytes_a_turn), SHORT, found)
    found.threads = (5, 5)
    assert unmet(found) == ["memory from turn 40 to turn 160"] * grows


def test_every_demand_can_fail(capsys: pytest.CaptureFixture[str]) -> None:
    good = Findings(
        readings=[Reading(50, 200_000_000, 0, 5), Reading(1000, 204_900_000, 0, 5)],
        early=Latency(100, 300, 500), late=Latency(109, 329, 900), threads=(5, 5),
    )  # fmt: skip
    assert report(good, Plan()) == 0 and "FAIL" not in capsys.readouterr().out
    for bad, unmet_demands in (
        (replace(good, readings=[good.readings[0], Reading(1000, 205_000_001, 0, 5)]), 1),
        (replace(good, late=Latency(111, 329, 500)), 1),
        (replace(good, late=Latency(109, 331, 500)), 1),
        (replace(good, late=None), 2),
        (replace(good, threads=(5, 6)), 1),
        (replace(good, turn_faults=["turn 7: it broke"]), 1),
        (replace(good, cut_faults=["cancel 3: a thread is there"]), 1),
    ):
        assert report(bad, Plan()) == 1
        assert sum(not demand.met for demand in demands(bad, Plan())) == unmet_demands
        assert "FAIL" in capsys.readouterr().out


def test_a_turn_that_breaks_is_a_fault_and_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Latency, "measure", staticmethod(lambda *rest: Latency(1, 2, 3)))
    turns = Leaking(1)
    monkeypatch.setattr(turns, "take", lambda: turns.kept.append(0) or 1 / 0)
    found = Findings()
    converse(turns, SHORT, found)
    assert len(turns.kept) == len(found.turn_faults) == SHORT.turns
    assert "ZeroDivisionError" in found.turn_faults[0]


def faults_of(omni: Omni, way: str, count: int = 4) -> list[str]:
    """Returns the faults of a few cuts of one way."""
    rng, faults = Random(1), []
    with open_set() as held_out, pytest.MonkeyPatch.context() as patched:
        patched.setattr(cancels, "WAYS", {way: cancels.WAYS[way]})
        questions = Questions(held_out, rng, SHORT.limits, omni.model.dims.codec)
        cuts = Cancels(omni, questions, rng)
        for _ in range(count):
            faults += cuts.take()
    return faults


@pytest.mark.parametrize("way", ["cancel", "left the block", "dropped", "reader died"])
def test_workers_that_nobody_ends_are_noticed(
    small: Omni, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The other two ways may end the workers before the check; `test_workers` covers them."""
    monkeypatch.setattr(Workers, "end", lambda self: None)
    for limit, value in (("GONE_WITHIN", 0.0), ("LONGEST_DELAY", 0.0), ("MOST_EVENTS", 1)):
        monkeypatch.setattr(cancels, limit, value)
    faults = faults_of(small, way, count=1)
    monkeypatch.undo()
    assert wait_for(lambda: not workers(), 30)
    assert any("omnijet-" in fault for fault in faults)


def test_a_memory_that_is_wrong_after_a_cancel_is_noticed(
    small: Omni, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not faults_of(small, "cancel")
    monkeypatch.setattr(Context, "rewind", lambda self, rows: None)
    assert any("that of a fresh session" in fault for fault in faults_of(small, "cancel"))
