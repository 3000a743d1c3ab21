"""Builds for `omnijet build`: plans, probes the library, builds, and prints what was made.

Apart from `omnijet.engines.command`, because all this needs the extra [quantize], and a list of
targets does not.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table

from omnijet.engines.build import open_for_building, take_out
from omnijet.engines.build_memory import device_bytes
from omnijet.engines.build_options import BuildOptions
from omnijet.engines.engine_builder import EngineBuilder
from omnijet.engines.library import Installed, find_library, fitting, own_lack, require_able
from omnijet.engines.ort_builder import OrtBuilder
from omnijet.engines.plan import Planned, Request, make_plan, require_possible
from omnijet.engines.polygraphy import SCRIPT, script
from omnijet.engines.process import interpreter
from omnijet.engines.targets.build_rates import UNMEASURED
from omnijet.engines.targets.chosen import chosen_target
from omnijet.engines.targets.found import AUTO, described
from omnijet.engines.trial import Trial, try_engines, with_references
from omnijet.runtime.backends.choose import DEFAULT
from omnijet.runtime.backends.ort_installed import cpu_target
from omnijet.runtime.backends.trt.library import TITLES
from omnijet.runtime.bundle.checked import forget, note_extended, recorded
from omnijet.runtime.bundle.folder import Bundle, rebuild_command
from omnijet.runtime.bundle.manifest import ENGINES, Manifest
from omnijet.runtime.commands.console import (
    print_json,
    print_table,
    say,
    size_text,
    stage_progress,
)
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.names import shell_quoted
from omnijet.runtime.files.printable import for_reader, one_line, show
from omnijet.runtime.machine.memory import free_bytes
from omnijet.runtime.machine.platform import this_platform


def run(args: Namespace) -> int:
    """Builds engines and prints what was built; see `omnijet.engines.command`."""
    request = _request(args)
    bundle = open_for_building(args.bundle)
    if args.polygraphy:
        _require_engines(bundle, request)
        print(for_reader(script(bundle.manifest, request.target), sys.stdout), end="")
        return 0
    require_possible(bundle, request)  # reported before the library is looked for
    if args.dry_run:
        return _dry_run(args, bundle, request)
    installed = _installed(args, request)
    request = _fitted(request, installed)
    require_able(installed, request.target)
    _tell(installed, request)
    kind = OrtBuilder if request.target.library == "onnxruntime" else EngineBuilder
    cache = args.cache or _cache_folder()
    builder = kind(installed, request.target, cache, args.ignore_memory)
    record = recorded(bundle)
    forget(bundle.folder)  # after a kill it would refuse the bundle that the next build heals
    try:
        with stage_progress() as progress:
            plan = make_plan(bundle, request, installed.version, progress)
            manifest = builder.build(bundle.folder, plan, progress)
        if not args.no_check:  # after it, so that a bundle that is refused stays as it is
            manifest = with_references(Bundle(args.bundle, manifest)).manifest
    finally:  # the engines before one that failed are in the bundle, too
        note_extended(bundle, record)
    trial, gone = None, list[str]()
    if not args.no_check:  # also what was there: it may never have been compared
        graphs = [one.graph for one in plan]
        trial = try_engines(Bundle(args.bundle, manifest), request.target, graphs)
        gone = _take_out(bundle, manifest, request, trial)
    _print_built(args, manifest, request, plan, trial, gone)
    return 1 if trial is not None and trial.faults else 0


def _take_out(
    bundle: Bundle, manifest: Manifest, request: Request, trial: Trial | None
) -> list[str]:
    """Removes what is wrong, where the bundle's own graphs do its work; returns the graphs."""
    target, wrong = request.target, [] if trial is None else trial.wrong
    # what an older ONNX Runtime, or a processor with bf16, cannot run is not replaced
    runs = target.flavour != "decomposed-cpu" and (
        target.device.name != "cpu" or manifest.precision != "bf16"
    )
    if not wrong or target.library != "onnxruntime" or not runs:
        return []
    built = Bundle(bundle.folder, manifest)
    record = recorded(built)
    forget(bundle.folder)
    try:
        take_out(bundle.folder, target.name, wrong)
    finally:
        note_extended(built, record)
    return wrong


def _request(args: Namespace) -> Request:
    platform = this_platform()
    target = chosen_target(args.target, args.memory, platform)
    if args.target == AUTO:
        say(f"this machine: {described(platform)}; target {target.name}")
    options = BuildOptions(args.optimization_level)
    return Request(target, tuple(args.graphs), dict(args.limit), args.recipe, args.force, options)


def _installed(args: Namespace, request: Request) -> Installed:
    library = request.target.library
    return find_library(library, interpreter(args.python, library))


def _fitted(request: Request, installed: Installed) -> Request:
    """Returns the request for the form that the installed library runs; says if it is another."""
    target = fitting(request.target, installed)
    if target is not request.target:
        say(
            f"{TITLES[installed.library]} {installed.version} reads no canonical graphs (opset 24):"
            f" the graphs become those of target {target.name}, in older operators"
        )
    return replace(request, target=target)


def _tell(installed: Installed, request: Request) -> None:
    """Says at once which library builds, and whether this Python could run what it builds."""
    say(f"{TITLES[installed.library]} {installed.version}")
    if installed.here == request.target.compute_capability is not None:
        say(own_lack(installed, this_platform()))


def _dry_run(args: Namespace, bundle: Bundle, request: Request) -> int:
    """Prints the plan, with the library's version if it is installed."""
    version, lacking = None, None
    try:
        installed = _installed(args, request)
        version = installed.version
        request = _fitted(request, installed)
        require_able(installed, request.target)
    except OmnijetError as error:
        lacking = error.what
    with stage_progress() as progress:
        plan = make_plan(bundle, request, version, progress)
    if args.format == "json":
        print_json({
            "target": request.target.name, "library": request.target.library, "version": version,
            "cannot build here": lacking, "available_bytes": free_bytes(),
            "device_bytes": device_bytes(request.target),
            "graphs": [_plan_json(one) for one in plan],
        })  # fmt: skip
        return 0
    print_table(_plan_table(plan, request))
    show(f"{size_text(free_bytes())} of memory are free on this machine")
    if (said := UNMEASURED.get(request.target.library)) is not None:
        show(f"the predicted memory is not measured: {said}")
    room = device_bytes(request.target)
    large = [one.graph for one in plan if room is not None and one.least > room]
    if large:
        assert room is not None
        show(f"the target has {size_text(room)}, too little for {', '.join(large)}")
    if lacking is not None:
        show(f"cannot build here: {lacking}")
    return 0


def _plan_json(one: Planned) -> dict[str, Any]:
    return {
        "graph": one.graph, "precision": one.precision, "profiles": list(one.profiles),
        "key": one.key, "state": one.status, "why": one.why,
        "predicted_bytes": one.predicted, "least_bytes": one.least, "engine": one.file,
    }  # fmt: skip


def _plan_table(plan: Sequence[Planned], request: Request) -> Table:
    target = request.target
    table = Table(
        "graph", "precision", "profiles", "engine", "why", "memory", "at least", "file",
        title=f"{target.name}: {target.title}, flavour {target.flavour}",
    )  # fmt: skip
    for one in plan:
        table.add_row(
            one.graph, one.precision, _profiles_text(one), one.status, one.why,
            size_text(one.predicted), size_text(one.least), one.file,
        )  # fmt: skip
    return table


def _profiles_text(one: Planned) -> str:
    """Returns one line for each profile, such as `rows 1..256..512, capacity 4096`."""
    lines = []
    for profile in one.profiles:
        parts = []
        for symbol, sizes in profile.items():
            same = len(set(sizes)) == 1
            parts.append(f"{symbol} {sizes[0] if same else '..'.join(map(str, sizes))}")
        lines.append(", ".join(parts))
    return "\n".join(lines)


def _print_built(
    args: Namespace,
    manifest: Manifest,
    request: Request,
    plan: Sequence[Planned],
    trial: Trial | None,
    gone: Sequence[str],
) -> None:
    target = request.target
    engines = manifest.engines[target.name]
    if args.format == "json":
        print_json({
            one.graph: {
                "state": one.status, "why": one.why, "bytes": engines[one.graph].bytes,
                "layers": engines[one.graph].layers,
                "build_seconds": engines[one.graph].build_seconds,
                "peak_bytes": engines[one.graph].peak_bytes, "predicted_bytes": one.predicted,
                "compared": None if trial is None else trial.of(one.graph),
                "kept": one.graph not in gone,
            }
            for one in plan
        })  # fmt: skip
        for fault in [] if trial is None else trial.faults:
            say(f"FAILED {one_line(fault)}")
        _tell_wrong(args, request, trial, gone)
        return
    is_graph = target.library == "onnxruntime"
    card = "" if is_graph else f", SM{target.compute_capability}"
    table = Table(
        "graph", "", "nodes" if is_graph else "layers", "built graph" if is_graph else "engine",
        "seconds", "peak memory", "predicted",
        title=f"{target.name}: {TITLES[target.library]}{card}",
    )  # fmt: skip
    for one in plan:
        entry = engines[one.graph]
        status = "unchanged" if one.status == "present" else f"built ({one.why})"
        table.add_row(
            one.graph, status, str(entry.layers), size_text(entry.bytes),
            f"{entry.build_seconds:.1f}", size_text(entry.peak_bytes), size_text(one.predicted),
        )  # fmt: skip
    print_table(table)
    if trial is not None:
        trial.show()
        if trial.faults:
            _tell_wrong(args, request, trial, gone)
            return
    if is_graph and target.toolkit.made_for is not None and target.name != cpu_target():
        show(
            f"ONNX Runtime {target.toolkit.made_for} takes these graphs by itself: copy the bundle "
            "to the device, and type there: omnijet run BUNDLE"
        )
        return
    if is_graph:
        is_default = target.name in (DEFAULT.name, cpu_target())
        option = "" if is_default else f" --provider {target.name}"
        show(f"these graphs are used from now on: omnijet run {shell_quoted(args.bundle)}{option}")
        return
    show(f"run them: omnijet run {shell_quoted(args.bundle)} --engines {target.name}")
    script = args.bundle / ENGINES / target.name / SCRIPT
    show(f"compare with ONNX Runtime: sh {shell_quoted(script)}")


def _tell_wrong(
    args: Namespace, request: Request, trial: Trial | None, gone: Sequence[str]
) -> None:
    """Says what becomes of graphs that are wrong."""
    if gone:
        say(f"not kept: {', '.join(gone)}; the bundle's own graphs run in their place "
            "(--no-check keeps whatever is built)")  # fmt: skip
    if left := [name for name in ([] if trial is None else trial.wrong) if name not in gone]:
        again = f"{rebuild_command(args.bundle, request.target.name)} --force --graphs"
        say(f"wrong, and still there: {', '.join(left)}; {again} {' '.join(left)} builds anew")


def _require_engines(bundle: Bundle, request: Request) -> None:
    if request.target.library == "onnxruntime":
        raise OmnijetError(
            "polygraphy compares engines with ONNX Runtime, which runs these graphs itself",
            where=f"target {request.target.name}",
            fix="leave --polygraphy out",
        )
    if request.target.name not in bundle.manifest.engines:
        raise OmnijetError(
            "the bundle has no engines for this target",
            where=bundle.folder,
            fix=rebuild_command(bundle.folder, request.target.name),
        )


def _cache_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "omnijet"
