"""A long run in one process: a probe, turns with readings, a second probe, then cuts."""

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
    """Reports no progress."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The length of a run."""

    turns: int = 1000
    cancels: int = 200
    seed: int = 0
    limits: Limits = TRAINED

    @property
    def warm(self) -> int:
        """The number of turns before the first reading of memory."""
        return min(WARM, self.turns // 4)


@dataclass(slots=True)
class Findings:
    """The findings of a run.

    Attributes:
        readings: Readings at checkpoints, after all conversations were reset; the first is warm.
        early: The probe's latency before the turns.
        late: The probe's latency after the turns.
        after_cuts: The reading after all cuts.
        threads: The number of threads when warm and at the end.
        turns: How often each kind of turn happened.
        cuts: How often each kind of cut happened.
        slowest_end: The longest time in seconds from a cut until its threads had ended.
        turn_faults: One text per fault of a turn.
        cut_faults: One text per fault of a cut.
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
        """The bytes that memory grew by, from warm to the last turn."""
        return self.readings[-1].resident - self.readings[0].resident


def endure(omni: Omni, plan: Plan, progress: Progress = silent) -> Findings:
    """Makes the whole run."""
    found = Findings()
    rng = Random(plan.seed)
    with open_set() as held_out:
        questions = Questions(held_out, rng, plan.limits, omni.model.dims.codec)
        converse(Turns(omni, questions, rng), plan, found, progress)
        cut(Cancels(omni, questions, rng), plan, found, progress)
    # the system lists a thread for a moment after its end
    least = min(reading.threads for reading in found.readings)
    wait_for(lambda: thread_count() <= least, 2.0)
    found.threads = (least, thread_count())
    return found


def converse(turns: Turns, plan: Plan, found: Findings, progress: Progress = silent) -> None:
    """Takes the turns, with readings and probes."""
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
    """Makes the cuts, and takes a last reading."""
    for number in range(1, plan.cancels + 1):
        with watched(f"cancel {number}", found.cut_faults):
            found.cut_faults += cancels.take()
        progress("cancels", number, plan.cancels)
    cancels.reset()
    found.after_cuts = Reading.take(plan.turns)
    found.cuts, found.slowest_end = dict(cancels.counts), cancels.slowest


@contextmanager
def watched(what: str, faults: list[str]) -> Iterator[None]:
    """Turns an error into a fault, and ends the process at a hang."""
    faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)
    try:
        yield
    except Exception:
        faults.append(f"{what}: {traceback.format_exc()}")
    finally:
        faulthandler.cancel_dump_traceback_later()
