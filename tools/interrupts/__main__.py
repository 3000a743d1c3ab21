"""`python -m tools.interrupts BUNDLE`: interrupts commands at many moments, and says what they did.

A bundle of `omnijet synthesize middle` takes long enough in each stage, about a quarter of an hour
in all. The exit code is 1 if a command ends too late or leaves something behind.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from itertools import cycle
from pathlib import Path

from omnijet.runtime.leftovers import temporary_folder
from tools.interrupts.scenarios import scenarios
from tools.interrupts.trial import STATE, WAYS, Outcome, attempt


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.interrupts")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--checkpoint", type=Path, metavar="FOLDER", help="export it, too")
    parser.add_argument("--only", action="append", metavar="NAME", help="a scenario; may repeat")
    args = parser.parse_args(arguments)
    ways, outcomes = cycle(WAYS), []
    with temporary_folder("interrupts-") as folder:
        media, out = folder / "media", folder / "out"
        media.mkdir()
        out.mkdir()
        for scenario in scenarios(args.bundle, args.checkpoint, media, out):
            if args.only and scenario.name not in args.only:
                continue
            for moment in scenario.moments:
                outcome = attempt(scenario, moment, next(ways), out)
                outcomes.append(outcome)
                print(_line(outcome), flush=True)
                if not outcome.holds:
                    print(outcome.said, file=sys.stderr)
                for path in out.iterdir():
                    if path.name != STATE:  # so that later moments come after calibration
                        shutil.rmtree(path) if path.is_dir() else path.unlink()
            (out / STATE).unlink(missing_ok=True)
    failed = sum(not outcome.holds for outcome in outcomes)
    print(f"\n{len(outcomes)} commands were interrupted, {failed} not as they should")
    return 1 if failed else 0


def _line(outcome: Outcome) -> str:
    """Returns a row of a Markdown table."""
    took = "ended before" if outcome.seconds is None else f"{outcome.seconds:.2f} s"
    verdict = "" if outcome.holds else "FAILS " + " ".join(outcome.left)
    cells = (outcome.scenario.name, str(outcome.moment), outcome.way, took, str(outcome.code))
    return "| " + " | ".join((*cells, verdict)) + " |"


if __name__ == "__main__":
    sys.exit(main())
