"""`omnijet deploy CHECKPOINT --target T`: every step from a checkpoint to a measured device."""

from __future__ import annotations

import sys
from argparse import SUPPRESS, ArgumentParser, Namespace
from contextlib import suppress
from pathlib import Path
from typing import get_args

from rich.table import Table

from omnijet.deployment.deploy import orders
from omnijet.deployment.deploy.arrival import receive
from omnijet.deployment.deploy.attendance import attended
from omnijet.deployment.deploy.display import display, for_program
from omnijet.deployment.deploy.events import Event, Told
from omnijet.deployment.deploy.folder import usual_folder
from omnijet.deployment.deploy.here import Here
from omnijet.deployment.deploy.journal import Journal
from omnijet.deployment.deploy.next_line import next_lines
from omnijet.deployment.deploy.remote.device import Device
from omnijet.deployment.deploy.remote.host import DEFAULT_COMMAND, Host
from omnijet.deployment.deploy.report import Report
from omnijet.deployment.deploy.report_files import write_report
from omnijet.deployment.deploy.steps import NAMES, in_order
from omnijet.deployment.deploy.walk import Standing, Walk
from omnijet.deployment.deploy.work import Work
from omnijet.deployment.planner.plan import FLOATS
from omnijet.runtime.bundle.contract import Precision
from omnijet.runtime.commands.console import (
    add_format,
    print_json,
    print_table,
    say,
    whole_number,
)
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.printable import one_line, show
from omnijet.runtime.profiling.scenarios import SCENARIOS
from omnijet.runtime.speech.presets import PRESETS

KEPT = "what is finished stays: the same command line goes on with it"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", nargs="?", metavar="CHECKPOINT",
        help="folder, or hub id such as Qwen/Qwen2.5-Omni-3B",
    )  # fmt: skip
    parser.add_argument(
        "--target",
        metavar="T",
        help="machine and library, or auto for this one; `omnijet build --list` shows them",
    )
    parser.add_argument(
        "--resume", type=Path, metavar="FOLDER",
        help="go on in the folder of a deployment, as on a device that it was copied to",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER",
        help="folder of the deployment; default: MODEL-TARGET here",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true", help="show the steps and what is done, and do nothing"
    )
    made = parser.add_argument_group("what is made")
    made.add_argument(
        "--recipe", metavar="R",
        help=f"how floats are rounded; default: the target's own; {FLOATS!r}: not at all",
    )  # fmt: skip
    made.add_argument("--dtype", choices=get_args(Precision), help="default: f16, on cpu f32")
    made.add_argument("--dit", choices=("f32", "f16"), default="f32", help="as of `omnijet export`")
    made.add_argument("--no-speech", action="store_true", help="leave out all that speaks")
    made.add_argument(
        "--context", type=whole_number(1), metavar="N",
        help="most rows of a KV cache; default: the target's limit",
    )  # fmt: skip
    made.add_argument("--data", metavar="PATH", help="calibrate on this, as `omnijet quantize`")
    for option, what in (
        ("--items", "calibrate on the first N conversations"),
        ("--max-text-tokens", "text tokens of a reply in calibration"),
        ("--max-codes", "codec tokens of a reply in calibration"),
        ("--check-items", "conversations for each skill that fidelity is measured on"),
        ("--runs", "runs of each scenario in the profile; default 3"),
    ):
        made.add_argument(option, type=whole_number(1), metavar="N", help=what)
    made.add_argument(
        "--anyway", action="store_true", help="go on though the plan says that it does not fit"
    )
    made.add_argument("--low-memory", action="store_true", help="as of `omnijet quantize`")
    made.add_argument(
        "--scenario", action="append", choices=SCENARIOS, metavar="NAME",
        help="what the profile asks; may repeat; default: question and text",
    )  # fmt: skip
    made.add_argument("--preset", choices=PRESETS, default="exact", help="quality of the speech")
    far = parser.add_argument_group("a device that this machine reaches over ssh")
    far.add_argument(
        "--on", metavar="USER@HOST", help="copy the bundle there, and build and measure there"
    )
    far.add_argument(
        "--remote-folder", metavar="FOLDER",
        help="folder of the deployment there; default: omnijet/NAME in the user's home",
    )  # fmt: skip
    far.add_argument(
        "--remote-command", default=DEFAULT_COMMAND, metavar="COMMAND",
        help="omnijet there, in the words of its shell; default: %(default)s",
    )  # fmt: skip
    far.add_argument(
        "--ssh", default="ssh", metavar="COMMAND", help="ssh with options, such as 'ssh -p 2222'"
    )
    parser.add_argument("--attended", action="store_true", help=SUPPRESS)
    add_format(parser)


def run(args: Namespace) -> int:
    """Deploys. Exit codes: 0 done or the device must go on, 1 beyond the tolerances, 2 a fault."""
    resumes = args.resume is not None
    order, folder = orders.resumed(args) if resumes else orders.ordered(args, usual_folder)
    work = Work(order, folder, Journal.read(folder.root), Here.read(), _host_text(args))
    if args.dry_run:
        return _dry_run(args, work, resumes)
    device = None
    if args.on is not None:
        device = Device.of(args, folder.root.name)
        device.require_ready()  # before hours of work that would end at its door
    if args.attended:
        with for_program() as told, attended():
            return _told_end(work, told)
    code = _deploy(args, work, device, resumes)
    _print_end(args, work)
    return code


def _deploy(args: Namespace, work: Work, device: Device | None, resumes: bool) -> int:
    with orders.begun(work, resumes), display(NAMES) as told:
        try:
            _go(work, told, resumes)
            if device is not None:
                device.go_on(work, told)
        except KeyboardInterrupt:
            say(KEPT)
            raise
        finally:
            _write_report(work)
    return Report.of(work).code


def _told_end(work: Work, told: Told) -> int:
    """Goes on for another machine, which gets faults as events and reads the files afterwards."""
    try:
        with orders.begun(work, True):
            try:
                _go(work, told, True)
            finally:
                _write_report(work)
        code = Report.of(work).code
    except OmnijetError as error:
        told(Event("failed", text=str(error)))
        code = 2
    told(Event("ended", code=code))
    return code


def _go(work: Work, told: Told, resumes: bool) -> None:
    if resumes:
        receive(work.folder, work.journal, told)
    Walk(work, told, resumes=resumes).go(in_order(work.order))


def _write_report(work: Work) -> None:
    with suppress(OSError):  # a full disk is told by the step that it stopped
        write_report(Report.of(work), work.folder)


def _host_text(args: Namespace) -> str:
    return "" if args.on is None else Host.parsed(args.on).text


def _dry_run(args: Namespace, work: Work, resumes: bool) -> int:
    walk = Walk(work, lambda event: None, resumes=resumes)
    standings = walk.standings(in_order(work.order))
    if args.format == "json":
        print_json({
            "folder": str(work.folder.root), "target": work.order.target,
            "recipe": work.order.recipe,
            "steps": [
                {"step": one.step.name, "state": one.state, "why": one.why} for one in standings
            ],
        })  # fmt: skip
        return 0
    print_table(_steps_table(work, standings))
    return 0


def _steps_table(work: Work, standings: list[Standing]) -> Table:
    title = f"{work.order.checkpoint}: {work.order.machine.title}, recipe {work.order.recipe}"
    table = Table("step", "", "why", "took", title=one_line(title))
    for one in standings:
        record = work.journal.get(one.step.name)
        took = f"{record.seconds:.1f} s" if record is not None and record.seconds else ""
        table.add_row(one.step.name, one.state, one.why, took)
    return table


def _print_end(args: Namespace, work: Work) -> None:
    report = Report.of(work)
    if args.format == "json":
        print_json({**report.to_json(), "next": next_lines(work)})
        return
    for table in report.tables():
        print_table(table)
    for fault in report.faults:
        show(f"FAILED {one_line(fault)}")
    show(f"report: {work.folder.page}")
    for line in next_lines(work):
        show(line)
    sys.stdout.flush()
