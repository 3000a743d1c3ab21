"""`omnijet profile BUNDLE`: measures latency by scenario, stage and step, or compares profiles."""

from __future__ import annotations

import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from omnijet.runtime.bundle.manifest import FILE_NAME as MANIFEST
from omnijet.runtime.bundle.manifest import hash_file
from omnijet.runtime.bundle.output import require_output
from omnijet.runtime.commands.backend_options import add_backend
from omnijet.runtime.commands.console import (
    add_format,
    print_json,
    print_table,
    step_progress,
    whole_number,
)
from omnijet.runtime.commands.opening import opened
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.printable import json_shown, show
from omnijet.runtime.files.whole_file import write_whole
from omnijet.runtime.profiling import report, trace
from omnijet.runtime.profiling.advice import advise, advise_machine
from omnijet.runtime.profiling.compare import Comparison, compare
from omnijet.runtime.profiling.floor import Floor, floors, stage_floor_ms
from omnijet.runtime.profiling.machine import Machine
from omnijet.runtime.profiling.measure import Result, measure
from omnijet.runtime.profiling.rates import Rates
from omnijet.runtime.profiling.record import FILE_NAME, BundleFacts, Profile, Settings
from omnijet.runtime.profiling.scenarios import SCENARIOS, chosen
from omnijet.runtime.speech.presets import PRESETS

TRACE, REPORT = "trace.json", "report.html"
TOLERANCE = 0.1


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "bundle", type=Path, nargs="?", metavar="BUNDLE", help="folder of the bundle to measure"
    )
    parser.add_argument(
        "--scenario", action="append", metavar="NAME",
        help="what is asked; may repeat; all by default: " + ", ".join(SCENARIOS),
    )  # fmt: skip
    parser.add_argument("--runs", type=whole_number(1), default=5, metavar="N", help="counted runs")
    parser.add_argument(
        "--warmup", type=whole_number(0), default=1, metavar="N", help="uncounted runs before them"
    )
    parser.add_argument(
        "--threads", type=whole_number(0), default=0, metavar="N", help="threads; 0: one per core"
    )
    parser.add_argument("--preset", choices=PRESETS, default="exact", help="quality of the speech")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help=f"write {FILE_NAME}, {TRACE} and {REPORT} there"
    )
    parser.add_argument(
        "--compare", type=Path, nargs=2, metavar=("A", "B"),
        help="instead of measuring: what changed from A to B; exit code 1 if it got worse",
    )  # fmt: skip
    parser.add_argument(
        "--tolerance", type=_share, default=TOLERANCE, metavar="X", help="0.1 is 10 percent"
    )
    add_backend(parser)
    add_format(parser)


def run(args: Namespace) -> int:
    """Prints tables or one JSON object. The exit code is 1 if a comparison finds a regression."""
    if (args.bundle is None) == (args.compare is None):
        raise OmnijetError(
            "there is nothing to profile"
            if args.bundle is None
            else "a bundle and --compare exclude each other",
            expected="a bundle to measure, or --compare A.json B.json",
            fix="omnijet profile BUNDLE --out FOLDER",
        )
    if args.compare is not None:
        if args.out is not None or args.scenario:
            raise OmnijetError(
                "--compare measures nothing",
                expected="two profiles, --tolerance and --format",
                got="--scenario or --out as well",
                fix="omnijet profile --compare A.json B.json",
            )
        before, after = (Profile.read(path) for path in args.compare)
        return _print_comparison(compare(before, after, args.tolerance), args)
    if args.out is not None:
        _check_folder(args.out)
    profile, tracks = _measure(args)
    if args.out is not None:
        args.out.mkdir(exist_ok=True)
        write_whole(args.out / FILE_NAME, f"{json_shown(profile.to_json())}\n".encode())
        write_whole(args.out / TRACE, trace.write(tracks).encode())
        # the report draws the first counted run
        shown = {
            name: track for name in profile.scenarios for track in tracks
            if track.name == f"{name}, run 1"
        }  # fmt: skip
        write_whole(
            args.out / REPORT, report.html(profile, shown).encode("utf-8", "xmlcharrefreplace")
        )
    if args.format == "json":
        print_json(profile.to_json())
    else:
        _print_profile(profile)
    return 0


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 100:
        raise ArgumentTypeError(f"expected a share such as 0.1, got {text!r}")
    return value


def _check_folder(folder: Path) -> None:
    """Checks before minutes of work that the files can be written."""
    if folder.is_dir():
        for name in (FILE_NAME, TRACE, REPORT):
            require_output(folder / name)
    elif folder.exists():
        raise OmnijetError("the output is not a folder", where=folder, expected="a folder")
    else:
        require_output(folder)


def _measure(args: Namespace) -> tuple[Profile, list[trace.Track]]:
    scenarios = chosen(args.scenario)
    omni = opened(args, args.threads)
    manifest = omni.bundle.manifest
    results, tracks = {}, []
    rates = Rates.measure(args.threads or os.cpu_count() or 1)
    with step_progress() as progress:
        for scenario in scenarios:
            task = progress.add_task(scenario.name, total=args.warmup + args.runs)
            results[scenario.name], runs = measure(
                omni, scenario, args.runs, args.warmup, args.preset,
                lambda task=task: progress.advance(task),  # type: ignore[misc]
            )  # fmt: skip
            tracks += [
                run.track(f"{scenario.name}, run {number}") for number, run in enumerate(runs, 1)
            ]
    machine = Machine.read()  # read now, so that the clocks are those of a busy device
    limits = {
        name: floors(manifest, result, rates, args.preset) for name, result in results.items()
    }
    advice = advise_machine(machine)
    for name, result in results.items():
        advice += advise(name, result, limits[name], machine)
    profile = Profile(
        machine,
        BundleFacts(manifest.name, manifest.precision, hash_file(args.bundle / MANIFEST).sha256),
        Settings(args.runs, args.warmup, args.threads, args.preset, omni.model.backend.name),
        results,
        limits,
        tuple(advice),
    )
    return profile, tracks


def _print_profile(profile: Profile) -> None:
    for label, text in profile.facts():
        show(f"{label:<12}{text}")
    for name, result in profile.scenarios.items():
        _print_result(name, result, profile.floors[name])
    for said in profile.advice:
        show(f"{said.scenario}, {said.stage}: {said.message}")


def _print_result(name: str, result: Result, limits: Mapping[str, Floor]) -> None:
    if (pcm := result.latency_ms.get("first_pcm")) is not None:
        waits = ", ".join(f"{stage} {ms:.1f}" for stage, ms in result.until_pcm_ms.items())
        show(f"\n{name}: first PCM {pcm.p50:.1f} ms ({waits})")
    else:
        show(f"\n{name}: no speech")
    table = Table("", "p50", "p90", "p99", "in the graph", "host", "floor", "of the floor")
    for label, percentiles in result.latency_ms.items():
        table.add_row(
            f"{label}, ms",
            *(f"{v:.1f}" for v in (percentiles.p50, percentiles.p90, percentiles.p99)),
        )
    for label, percentiles in result.stages_ms.items():
        cells = [f"{v:.2f}" for v in (percentiles.p50, percentiles.p90, percentiles.p99)]
        if (floor := stage_floor_ms(label, result, limits)) is not None:
            cells += ["", "", f"{floor:.2f}", f"{percentiles.p50 / floor:.2f} x"]
        table.add_row(f"{label}, ms", *cells)
    for label, step in result.steps.items():
        total = step.total_us
        spent = (total.p50, total.p90, total.p99, step.graph_us.p50, step.host_us.p50)
        table.add_row(f"{label} step, µs", *(f"{v:.0f}" for v in spent))
    for label, percentiles in result.rates.items():
        table.add_row(
            label, *(f"{v:.2f}" for v in (percentiles.p50, percentiles.p90, percentiles.p99))
        )
    print_table(table)
    show(f"{result.summary()}; {result.memory}")


def _print_comparison(comparison: Comparison, args: Namespace) -> int:
    code = 1 if comparison.regressed else 0
    if args.format == "json":
        print_json({**asdict(comparison), "tolerance": args.tolerance, "ok": not code})
        return code
    for fact in comparison.facts:
        show(fact)
    table = Table("scenario", "number", "before", "after", "change", "")
    for change in comparison.changes:
        if change.verdict != "same":
            table.add_row(
                change.scenario, f"{change.metric}, {change.unit}", f"{change.before:.4g}",
                f"{change.after:.4g}", f"{change.ratio - 1:+.1%}", change.verdict,
            )  # fmt: skip
    if table.row_count:
        print_table(table)
    show(
        f"{'FAILED' if code else 'PASSED'}: {len(comparison.changes)} numbers compared, "
        f"tolerance {args.tolerance:.0%}"
    )
    return code
