"""Quantizes for `omnijet quantize`: calibrates, searches, rounds, and prints what was written.

Apart from `omnijet.quantization.command`, because all this needs the extra [quantize], and a list
of recipes does not.
"""

from __future__ import annotations

import math
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from omnijet.quantization.budget.parallel import processes, ray_cluster
from omnijet.quantization.budget.search import Budget, Found, search
from omnijet.quantization.budget.trials import DECODERS, Bench
from omnijet.quantization.calibration.conversations import (
    BUILT_IN,
    fitting_set,
    open_conversations,
)
from omnijet.quantization.calibration.limits import Limits
from omnijet.quantization.calibration.state import Place
from omnijet.quantization.command import NO_DATA, TRIED, asked_recipe, target_of
from omnijet.quantization.layers import Layer
from omnijet.quantization.memory import worker_count
from omnijet.quantization.numerics.statistics import Statistics
from omnijet.quantization.quantize import (
    Calibration,
    Progress,
    bundle_layers,
    plan_for,
    quantize_bundle,
    require_apart,
    require_float,
    require_whole,
    statistics_of,
)
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.bundle.output import require_place
from omnijet.runtime.commands.console import print_table, size_text, stage_progress
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.names import beside, shell_quoted
from omnijet.runtime.files.printable import show
from omnijet.runtime.leftovers import temporary_folder


def run(args: Namespace) -> int:
    """Quantizes a bundle and prints what was written; see `omnijet.quantization.command`."""
    bundle = Bundle.open(args.bundle)
    if args.layers:
        print_table(_layers(bundle))
        return 0
    if args.recipe is not None and args.budget is not None:
        raise OmnijetError(
            "a recipe and a budget cannot both decide", got="--recipe and --budget",
            fix="give one of them",
        )  # fmt: skip
    if args.out is None or (args.recipe, args.budget, args.target) == (None, None, None):
        raise OmnijetError(
            "neither a recipe nor a budget nor a target is given, or no output",
            expected="omnijet quantize BUNDLE OUT, with --recipe R, --budget B or --target T",
            fix="`omnijet quantize --list` shows the recipes",
        )
    _refuse_idle_options(args)
    require_float(bundle)
    require_apart(args.bundle, args.out)
    require_place(args.out, replace=args.force)
    with stage_progress() as report:
        manifest = _quantized(bundle, args, report)
    print_table(_summary(bundle.manifest, manifest))
    show(f"next: omnijet check {shell_quoted(args.out)} --fidelity")
    return 0


def _quantized(bundle: Bundle, args: Namespace, progress: Progress) -> Manifest:
    calibration = _calibration(bundle, args)
    origin: dict[str, Any] = {"calibration": None}
    seen: Mapping[Place, Statistics] = {}
    target = target_of(args)
    budget, recipe, layers = None, asked_recipe(args, target), bundle_layers(bundle)
    if recipe is None:
        budget = Budget.parse(args.budget)
        layers = [layer for layer in layers if layer.graph in DECODERS]
        _check_trials(args)
    else:
        plan = plan_for(bundle, recipe, target)
        worker_count(plan, calibration is not None)  # memory is looked at before hours of work
        layers = list(plan)
    if calibration is not None:
        require_whole(bundle, bundle.manifest.graphs)  # all of them answer
        seen = statistics_of(bundle, layers, calibration, progress)
        data = Path(args.data).name if args.data else f"built in: {_built_in(bundle)}"
        limits = asdict(calibration.limits)
        origin = {"calibration": {"data": data, "seed": calibration.seed, **limits}}
    if recipe is None:
        assert budget is not None and calibration is not None
        found = _searched(args, budget, layers, seen, calibration, progress)
        recipe = found.recipe(f"budget {args.budget}")
        figures = {k: v if math.isfinite(v) else None for k, v in asdict(found.outcome).items()}
        origin["budget"] = {"bytes": found.mix.bytes, **figures}
    plan = plan_for(bundle, recipe, target)
    manifest = quantize_bundle(
        args.bundle,
        args.out,
        recipe,
        plan,
        seen,
        origin=origin,
        force=args.force,
        progress=progress,
    )
    if calibration is not None and calibration.state is not None:
        calibration.state.unlink(missing_ok=True)
    return manifest


def _refuse_idle_options(args: Namespace) -> None:
    """Refuses options that would do nothing."""
    of_trials = {"--ray": args.ray, "--scratch": args.scratch}
    of_calibration = {
        "--items": args.items, "--max-text-tokens": args.max_text_tokens,
        "--max-codes": args.max_codes, "--low-memory": args.low_memory or None,
    }  # fmt: skip
    for idle, options, why in (
        (args.budget is None, of_trials, "without --budget nothing is tried"),
        (args.data == NO_DATA, of_calibration, f"with --data {NO_DATA} nothing is calibrated"),
    ):
        given = [name for name, value in options.items() if value is not None]
        if idle and given:
            raise OmnijetError(
                "options that would do nothing", expected=why, got=", ".join(given),
                fix="leave them out",
            )  # fmt: skip


def _check_trials(args: Namespace) -> None:
    """Checks before the calibration what trials need after it."""
    if args.data == NO_DATA:
        raise OmnijetError(
            "a budget needs to know the activations",
            where=f"--data {NO_DATA}",
            fix="leave --data out, or give data of your own",
        )
    if args.scratch is not None and not args.scratch.is_dir():
        raise OmnijetError("the scratch folder does not exist", where=args.scratch)
    if args.ray is not None:
        if args.ray != "local" and args.scratch is None:
            raise OmnijetError(
                "the machines of a cluster need a shared scratch folder",
                where="--ray",
                expected="--scratch FOLDER, on a disk that all of them share",
            )
        with ray_cluster(args.ray):
            pass


def _searched(
    args: Namespace, budget: Budget, layers: Sequence[Layer], seen: Mapping[Place, Statistics],
    calibration: Calibration, progress: Progress,
) -> Found:  # fmt: skip
    assert calibration.data is not None
    parallel = processes() if args.ray is None else ray_cluster(args.ray)
    with (
        temporary_folder("omnijet-", args.scratch) as scratch,
        open_conversations(calibration.data) as conversations,
        parallel as run,
    ):
        bench = Bench(args.bundle.absolute(), scratch)
        tried = conversations.items[: args.items or TRIED]
        bench.prepare([one.messages for one in tried], seen)
        return search(bench, layers, budget, run, progress)


def _built_in(bundle: Bundle) -> str:
    return fitting_set(bundle.manifest.dims.thinker.vocab)


def _calibration(bundle: Bundle, args: Namespace) -> Calibration | None:
    if args.data == NO_DATA:
        return None
    data = Path(args.data) if args.data else BUILT_IN[_built_in(bundle)]
    # beside OUT, so that the next run finds an interrupted one
    state = beside(args.out.absolute(), ".", ".calibration.npz")
    usual = Limits()
    limits = Limits(
        conversations=args.items,
        text_tokens=args.max_text_tokens or usual.text_tokens,
        codes=args.max_codes or usual.codes,
    )
    return Calibration(data, args.seed, state, limits, args.low_memory)


def _layers(bundle: Bundle) -> Table:
    table = Table("graph", "layer", "inputs", "outputs")
    for layer in bundle_layers(bundle):
        table.add_row(layer.graph, layer.name, str(layer.inputs), str(layer.outputs))
    return table


def _summary(before: Manifest, after: Manifest) -> Table:
    """Returns the bytes of each graph's weights, and what its layers became."""
    table = Table("graph", "float", "quantized", "layers", title=after.quantization["recipe"])
    for name, entry in before.graphs.items():
        layers = after.quantization["layers"].get(name, {})
        made = Counter(layer["scheme"] for layer in layers.values())
        table.add_row(
            name, size_text(entry.weight_bytes), size_text(after.graphs[name].weight_bytes),
            "\n".join(f"{count} {scheme}" for scheme, count in made.items()) or "as they were",
        )  # fmt: skip
    return table
