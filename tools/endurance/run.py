"""A long run in one process: turns with readings, probes around them, cuts after them."""

from __future__ import annotations

import faulthandler
import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

from omnijet.nano.evaluation.heldout import open_set
from omnijet.runtime.omni import Omni
from tools.endurance.cancels import Cancels
from tools.endurance.probe import Latency
from tools.endurance.questions import TRAINED, Limits, Questions
from tools.endurance.resident import Reading, thread_count, wait_for
from tools.endurance.turns import Turns

_log = logging.getLogger(__name__)

PROBED_EARLY = 10
WARM = 50
"""Turns after which all that is made once has been made: by then every kind of question has met
every preset and every length of reply (after 4 x 9 and 5 x 9 turns), so that all graphs are
loaded, all windows bound, and the conversations have outgrown their caches."""
CHECKPOINTS = 20
HANGS_AFTER = 120.0  # seconds for one turn or cut; a hang ends the process with all stacks

Progress = Callable[[str, int, int], None]
"""Told (what, done, of how many)."""


def silent(what: str, done: int, total: int) -> None:
    """The progress of a run that nobody watches."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long a run is."""

    turns: int = 1000
    cancels: int = 200
    seed: int = 0
    limits: Limits = TRAINED

    @property
    def warm(self) -> int:
        """After how many turns memory is read first."""
        return min(WARM, self.turns // 4)


@dataclass(slots=True)
class Findings:
    """What came of it.

    Attributes:
        readings: at checkpoints, when all conversations have been reset; the first is warm.
        early, late: latencies of the probe.
        after_cuts: once more after all of them.
        threads: of the process when warm and at the end.
        turns, cuts: what happened how often.
        slowest_end: seconds from a cut until its threads were gone, at worst.
        turn_faults, cut_faults: one text each.
    """

    readings: list[Reading] = field(default_factory=list)
    early: Latency | None = None
    late: Latency | None = None
    after_cuts: Reading | None = None
    threads: tuple[int, int] = (0, 0)
    turns: dict[str, int] = field(default_factory=dict)
    cuts: dict[str, int] = field(default_factory=dict)
    slowest_end: float = 0.0
    turn_faults: list[str] = field(default_factory=list)
    cut_faults: list[str] = field(default_factory=list)

    @property
    def growth(self) -> int:
        """Bytes, from warm to the last turn."""
        return self.readings[-1].resident - self.readings[0].resident


def endure(omni: Omni, plan: Plan, progress: Progress = silent) -> Findings:
    """All of it."""
    found = Findings()
    rng = Random(plan.seed)
    with open_set() as held_out:
        questions = Questions(held_out, rng, plan.limits, omni.model.dims.codec)
        converse(Turns(omni, questions, rng), plan, found, progress)
        cut(Cancels(omni, questions, rng), plan, found, progress)
    # a thread that has ended stays in the system's list for a moment
    least = min(reading.threads for reading in found.readings)
    wait_for(lambda: thread_count() <= least, 2.0)
    found.threads = (least, thread_count())
    return found


def converse(turns: Turns, plan: Plan, found: Findings, progress: Progress = silent) -> None:
    """The turns, with readings and probes."""
    checkpoints = {round(plan.warm + (plan.turns - plan.warm) * part / CHECKPOINTS)
                   for part in range(CHECKPOINTS + 1)}  # fmt: skip
    for number in range(1, plan.turns + 1):
        with watched(f"turn {number}", found.turn_faults):
            turns.take()
        if number == PROBED_EARLY:
            with watched("the early probe", found.turn_faults):
                found.early = Latency.measure(turns.omni, plan.limits)
        if number in checkpoints:
            turns.reset()
            found.readings.append(reading := Reading.take(number))
            _log.info("turn %d: %.1f MB resident", number, reading.resident / 1e6)
        progress("turns", number, plan.turns)
    with watched("the late probe", found.turn_faults):
        found.late = Latency.measure(turns.omni, plan.limits)
    found.turns = dict(turns.counts)


def cut(cancels: Cancels, plan: Plan, found: Findings, progress: Progress = silent) -> None:
    """The cancels, and a last reading."""
    for number in range(1, plan.cancels + 1):
        with watched(f"cancel {number}", found.cut_faults):
            found.cut_faults += cancels.take()
        progress("cancels", number, plan.cancels)
    cancels.reset()
    found.after_cuts = Reading.take(plan.turns)
    found.cuts, found.slowest_end = dict(cancels.counts), cancels.slowest


@contextmanager
def watched(what: str, faults: list[str]) -> Iterator[None]:
    """An error becomes a fault, a hang the end of the process."""
    faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)
    try:
        yield
    except Exception:
        faults.append(f"{what}: {traceback.format_exc()}")
    finally:
        faulthandler.cancel_dump_traceback_later()
