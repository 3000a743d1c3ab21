"""`python -m tools.endurance BUNDLE`: a thousand turns and two hundred cancels in one process.

The run is meant for a bundle of Omnijet-nano and takes about ten minutes. It prints memory,
latencies, threads, and whether each demand is met; the exit code is 1 if one is not.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping

from rich.console import Console
from rich.progress import TaskID
from rich.table import Table

from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.commands.console import step_progress, whole_number
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.omni import Omni
from omnijet.runtime.profiling.machine import machine
from omnijet.runtime.talk.heap import keep_heap_small
from tools.endurance.demands import demands
from tools.endurance.probe import REPEATS
from tools.endurance.run import PROBED_EARLY, Findings, Plan, endure
from tools.endurance.turns import CONTEXT

FAULTS_SHOWN = 5


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.endurance")
    parser.add_argument("bundle", metavar="BUNDLE")
    parser.add_argument("--turns", type=whole_number(4 * PROBED_EARLY), default=1000, metavar="N")
    parser.add_argument("--cancels", type=whole_number(1), default=200, metavar="N")
    parser.add_argument("--seed", type=whole_number(0), default=0, metavar="N")
    parser.add_argument(
        "--threads", type=whole_number(0), default=0, metavar="N", help="0: one per core"
    )
    args = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(message)s")  # each reading at once, on stderr
    logging.getLogger("tools.endurance").setLevel(logging.INFO)
    keep_heap_small()  # as a long-running host does
    plan = Plan(args.turns, args.cancels, args.seed)
    try:
        omni = Omni.open(args.bundle, backend=OrtBackend(args.threads), context_limit=CONTEXT)
    except OmnijetError as error:
        print(f"endurance: {error}", file=sys.stderr)
        return 2
    return report(_endure(omni, plan), plan)


def _endure(omni: Omni, plan: Plan) -> Findings:
    with step_progress() as bar:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        return endure(omni, plan, progress)


def report(found: Findings, plan: Plan) -> int:
    """Prints all findings and returns the exit code: 1 if a demand is not met."""
    print(machine())
    console = Console(width=110)
    for table in (_memory(found), _latency(found, plan), _counts(found)):
        console.print(table)
    for fault in (*found.turn_faults, *found.cut_faults)[:FAULTS_SHOWN]:
        print(fault, file=sys.stderr)
    table = Table("demand", "limit", "found", "", title="demands")
    judged = demands(found, plan)
    for demand in judged:
        table.add_row(demand.name, demand.limit, demand.found, "PASS" if demand.met else "FAIL")
    console.print(table)
    return 0 if all(demand.met for demand in judged) else 1


def _memory(found: Findings) -> Table:
    table = Table("turn", "resident, MB", "since warm", "of it mapped", "threads", title="memory")
    for reading in (*found.readings, found.after_cuts):
        if reading is not None:
            grown = reading.resident - found.readings[0].resident
            table.add_row(
                "after the cancels" if reading is found.after_cuts else str(reading.turn),
                f"{reading.resident / 1e6:.1f}", f"{grown / 1e6:+.2f}",
                f"{reading.mapped / 1e6:.1f}", str(reading.threads),
            )  # fmt: skip
    return table


def _latency(found: Findings, plan: Plan) -> Table:
    title = f"one question, streamed; medians of {REPEATS}, ms"
    table = Table("after turn", "first PCM", "whole turn", "processor time", title=title)
    for turn, latency in ((PROBED_EARLY, found.early), (plan.turns, found.late)):
        if latency is not None:
            times = (latency.first_pcm, latency.whole, latency.processor)
            table.add_row(str(turn), *(f"{ms:.1f}" for ms in times))
    return table


def _counts(found: Findings) -> Table:
    table = Table("", "how often", title="what happened")
    happened: tuple[tuple[str, Mapping[str, int]], ...] = (
        ("turn", found.turns), ("cancel", found.cuts),
    )  # fmt: skip
    for what, counts in happened:
        for name, count in sorted(counts.items()):
            table.add_row(f"{what}: {name}", str(count))
    table.add_row("slowest end of the threads of a cancelled turn", f"{found.slowest_end:.3f} s")
    return table


if __name__ == "__main__":
    sys.exit(main())
