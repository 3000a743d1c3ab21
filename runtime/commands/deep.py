"""The options of `omnijet check --deep`, and what it does with the graphs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path

from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.output import require_output
from omnijet.runtime.commands.console import say, stage_progress, whole_number
from omnijet.runtime.commands.outputs_file import differences, read_outputs, write_outputs
from omnijet.runtime.commands.trials import BYTES_PER_S, LEAST_S, Trials
from omnijet.runtime.errors import OmnijetError


def add_deep(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("with --deep")
    group.add_argument(
        "--deep-seconds", type=whole_number(1), metavar="N",
        help=f"time limit of each graph; {LEAST_S} and 1 for each {BYTES_PER_S // 10**6} MB of its "
        "weights by default",
    )  # fmt: skip
    group.add_argument(
        "--record",
        type=Path,
        metavar="FILE",
        help="write what the graphs computed of a fixed input",
    )
    group.add_argument(
        "--compare", type=Path, metavar="FILE",
        help="compare with what --record wrote, here or on another machine",
    )  # fmt: skip


def refuse_idle(args: Namespace) -> None:
    """Refuses options that would do nothing. Raises `OmnijetError`."""
    options = {
        "--deep-seconds": args.deep_seconds, "--record": args.record, "--compare": args.compare,
    }  # fmt: skip
    given = [name for name, value in options.items() if value is not None]
    if given and not args.deep:
        raise OmnijetError("options that need --deep", got=", ".join(given), fix="add --deep")


def deep_trials(args: Namespace) -> Callable[[Bundle], list[str]]:
    """Returns what runs all graphs and tells the faults; raises now what it needs."""
    recorded = None if args.compare is None else read_outputs(args.compare)
    if args.record is not None:
        require_output(args.record)
    trials = Trials(args.provider, args.engines, args.deep_seconds)

    def run(bundle: Bundle) -> list[str]:
        if not trials.can_run(bundle):
            precision = bundle.manifest.precision
            say(f"no graph was run: the processor has no kernels for {precision} (--engines T)")
            return [] if recorded is None else ["graphs: not compared, because none was run"]
        with stage_progress() as report:
            total = len(bundle.manifest.graphs)
            faults, found = trials.run(bundle, lambda done: report("running graphs", done, total))
        if args.record is not None:
            write_outputs(args.record, bundle, found)
        return faults if recorded is None else faults + differences(recorded, found, bundle)

    return run
