"""`omnijet doctor [BUNDLE]`: looks at this machine, and says what to type where something fails."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.bundle.output import require_output
from omnijet.runtime.commands.console import (
    add_format,
    print_json,
    print_table,
    say,
    step_progress,
)
from omnijet.runtime.doctor.check import examine, within
from omnijet.runtime.doctor.checks import checks_for
from omnijet.runtime.doctor.finding import Finding
from omnijet.runtime.doctor.here import Here
from omnijet.runtime.doctor.library import AskedLibraries, Libraries
from omnijet.runtime.doctor.report import PACKAGES, versions, write_report
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.printable import show
from omnijet.runtime.machine.platform import Platform
from omnijet.runtime.machine.root import machine_root
from omnijet.runtime.profiling.jetson import run_tool

FACTS_S = 10.0
"""The time for the facts of the platform and for the manifest; a GPU's driver can hang."""
NOTHING = Platform("", "", None, None, None, None, None, 0, 0, sys.version_info[:2])
MARKS = {"ok": "ok", "note": "note", "fault": "FAULT", "unknown": "?"}


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "bundle", type=Path, nargs="?", metavar="BUNDLE", help="a bundle to look at, too"
    )
    parser.add_argument(
        "--sound", action="store_true",
        help="play a tone and record it, to test speaker and microphone; asks first",
    )  # fmt: skip
    parser.add_argument(
        "--yes", action="store_true", help="with --sound: the answer, where nobody can be asked"
    )
    parser.add_argument(
        "--report", type=Path, metavar="FILE",
        help="write a report without names, places and numbers of this machine; .zip or text",
    )  # fmt: skip
    add_format(parser)
    parser.add_argument(
        "--json", dest="format", action="store_const", const="json", help="the same as "
        "--format json",
    )  # fmt: skip


def run(args: Namespace) -> int:
    """Prints what was found. The exit code is 1 if something will not work."""
    if args.report is not None:
        require_output(args.report)
    if args.sound and not _agreed(args.yes):
        args.sound = False
        say("no tone is played")
    with AskedLibraries() as libraries, step_progress() as progress:
        here = look_around(args.bundle, args.sound, libraries)
        checks = checks_for(here)
        task = progress.add_task("looking", total=len(checks))
        findings = examine(checks, here, tell=lambda name: progress.update(
            task, description=name, advance=1))  # fmt: skip
    if args.format == "json":
        print_json(as_json(findings, here))
    else:
        _print(findings)
    if args.report is not None:
        write_report(args.report, findings, here)
        say(f"written: {args.report}; read it before you send it")
    return 1 if any(finding.state == "fault" for finding in findings) else 0


def look_around(bundle: Path | None, sound: bool, libraries: Libraries) -> Here:
    """Returns the machine and the bundle; what does not answer in time is unknown."""
    root = machine_root()
    platform = within(FACTS_S, Platform.read).result or NOTHING
    manifest = None if bundle is None else within(FACTS_S, lambda: _manifest(bundle)).result
    return Here(platform, root, run_tool, libraries, bundle=bundle, manifest=manifest, sound=sound)


def as_json(findings: Sequence[Finding], here: Here) -> dict[str, Any]:
    """Returns what the command prints with --format json."""
    return {
        "ok": all(finding.state != "fault" for finding in findings),
        "platform": asdict(here.platform),
        "versions": versions(PACKAGES),
        "findings": [finding.to_json() for finding in findings],
    }


def _manifest(bundle: Path) -> Manifest | None:
    try:
        return Manifest.read(bundle)
    except OmnijetError:  # the check of the bundle says why
        return None


def _agreed(yes: bool) -> bool:
    """Returns whether a tone may be played and recorded.

    Raises:
        OmnijetError: nobody can be asked.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise OmnijetError("--sound asks before it plays a tone and records it, and nobody can "
                           "be asked here", fix="add --yes")  # fmt: skip
    say("A tone of a second is played, and what the microphone hears is measured and not kept.")
    sys.stderr.write("Go on? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().casefold() in ("y", "yes")


def _print(findings: Sequence[Finding]) -> None:
    table = Table("", "what", "found")
    for finding in findings:
        table.add_row(MARKS[finding.state], finding.name, finding.said)
    print_table(table)
    mended = [finding for finding in findings if finding.fix is not None]
    for finding in sorted(mended, key=lambda one: one.state != "fault"):
        show(f"{MARKS[finding.state]} {finding.name}:")
        show(f"    {finding.fix}")
    counts = Counter(finding.state for finding in findings)
    if faults := counts["fault"]:
        show(f"{faults} {'fault' if faults == 1 else 'faults'}: something will not work")
    else:
        show("nothing was found that will not work")
