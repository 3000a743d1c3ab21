"""`python -m tools.kills BUNDLE --checkpoint FOLDER`: kills export, quantize and build by SIGKILL.

Each works over an existing OUT, among files of a user. After each kill a whole bundle must be at
OUT and no file of the user gone; after the next run nothing of ours may be left. Bundles and
checkpoints of few layers do: what counts are the steps. The exit code is 1 if anything failed.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

from omnijet.export import stages
from omnijet.runtime.leftovers import temporary_folder
from tests.traces import sharing_tracer
from tools.kills.trial import Outcome, Verb, kills

TARGET, GRAPH = "rtx-ampere", "vision_encoder"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.kills")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="a float bundle")
    parser.add_argument("--checkpoint", type=Path, metavar="FOLDER", help="export it, too")
    parser.add_argument("--build", type=Path, metavar="BUNDLE", help="build in it, too")
    parser.add_argument("--trials", type=int, default=500, metavar="N", help="kills in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--traces", type=Path, help="where traced graphs are kept")
    args = parser.parse_args(arguments)
    rng, outcomes = Random(args.seed), []
    with temporary_folder("kills-") as folder:
        # tracing changes no file, and would take most of the time
        stages.traced_graphs = sharing_tracer(args.traces or folder / "traces")
        verbs = list(_verbs(args))
        for number, verb in enumerate(verbs):
            count = args.trials // len(verbs) + (number < args.trials % len(verbs))
            for outcome in kills(verb, count, rng, folder):
                outcomes.append(outcome)
                if outcome.faults:
                    print(outcome, file=sys.stderr, flush=True)
    print(table(outcomes))
    return 1 if any(outcome.faults for outcome in outcomes) else 0


def _verbs(args: argparse.Namespace) -> Iterator[Verb]:
    bundle = args.bundle.absolute()
    if args.checkpoint is not None:
        command = ("export", str(args.checkpoint.absolute()), "{OUT}", "--force")
        yield Verb("export", bundle, command)
    recipe = ("--recipe", "orin-int4", "--data", "none", "--force")
    yield Verb("quantize", bundle, ("quantize", str(bundle), "{OUT}", *recipe))
    if args.build is not None:
        command = ("build", "{OUT}", "--target", TARGET, "--graphs", GRAPH, "--force")
        yield Verb("build", args.build.absolute(), command)


def table(outcomes: list[Outcome]) -> str:
    """Returns a Markdown table of all kills."""
    lines = [
        "| verb | kills | at a moment | at a step | near the swap | then old | then new | faults |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for verb in dict.fromkeys(outcome.verb for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.verb == verb and outcome.was_killed]
        ways, old = Counter(outcome.way for outcome in own), sum(one.is_old for one in own)
        faults = sum(bool(one.faults) for one in outcomes if one.verb == verb)
        cells = (verb, len(own), ways["moment"], ways["step"], ways["swap"], old, len(own) - old)
        lines.append("| " + " | ".join(map(str, (*cells, faults))) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
