"""`python -m tools.fuzz BUNDLE`: damaged and random inputs, each made from the seed and its number.

Each must be taken, or refused with an `OmnijetError`: no traceback, no crash, at most 10 s and
2 GB. What fails is printed with the option that makes it again; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from omnijet.runtime.commands.console import size_text, step_progress, whole_number
from tools.fuzz.kinds import KINDS, SHARES
from tools.fuzz.run import LONGEST_SECONDS, MOST_BYTES, tried
from tools.fuzz.worker import Job, Outcome

COUNT = 10_000
SHOWN = 20
ENDS = ("taken", "refused", "traceback", "hang", "crash", "memory")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--count", type=whole_number(1), default=COUNT, metavar="N")
    parser.add_argument("--seed", type=whole_number(0), default=0, metavar="N")
    parser.add_argument("--workers", type=whole_number(1), default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("--kind", choices=KINDS, action="append", help="only this; may repeat")
    parser.add_argument(
        "--only", metavar="KIND:N", help="make this input again, as a failure names it"
    )
    args = parser.parse_args(arguments)
    if args.only:
        kind, _, index = args.only.partition(":")
        jobs = [Job(kind, int(index))]
    else:
        jobs = list(_jobs(args.count, args.kind or list(KINDS)))
    found: list[Outcome] = []
    with step_progress() as bar:
        task = bar.add_task("inputs", total=len(jobs))

        def report(outcome: Outcome) -> None:
            found.append(outcome)
            bar.advance(task)

        tried(iter(jobs), args.bundle, args.seed, min(args.workers, len(jobs)), report)
    return _report(found, args.seed)


def _jobs(count: int, kinds: list[str]) -> Iterator[Job]:
    """Yields jobs of all kinds in turns, as often as their shares say."""
    row = [kind for kind in kinds for _ in range(SHARES[kind])]
    for number in range(count):
        yield Job(row[number % len(row)], number)


def _report(found: list[Outcome], seed: int) -> int:
    table = Table("kind", "inputs", *ENDS, "slowest", "largest")
    for kind in KINDS:
        mine = [outcome for outcome in found if outcome.job.kind == kind]
        if not mine:
            continue
        ends = Counter(outcome.end for outcome in mine)
        table.add_row(
            kind,
            str(len(mine)),
            *(str(ends[end]) for end in ENDS),
            f"{max(outcome.seconds for outcome in mine):.1f} s",
            size_text(max(outcome.peak_bytes for outcome in mine)),
        )
    Console(width=120).print(table)
    print(f"limits: {LONGEST_SECONDS:.0f} s, {size_text(MOST_BYTES)}; seed {seed}")
    failed = [outcome for outcome in found if outcome.end not in ("taken", "refused")]
    for outcome in failed[:SHOWN]:
        again = f"--seed {seed} --only {outcome.job.kind}:{outcome.job.index}"
        print(f"\n{outcome.end} ({outcome.seconds:.1f} s): {again}", file=sys.stderr)
        print(outcome.detail.rstrip(), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
