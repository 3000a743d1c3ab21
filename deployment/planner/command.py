"""`omnijet plan [MODEL]`: what fits on a device and how fast it will be; needs no weights."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from omnijet.deployment.planner.fidelity import Fidelity
from omnijet.deployment.planner.model import Model
from omnijet.deployment.planner.peaks import BENCHED, Peaks
from omnijet.deployment.planner.plan import FLOATS, Plan, plan_for, with_files
from omnijet.deployment.planner.plot import plot
from omnijet.deployment.planner.ranking import Ranked, ranked
from omnijet.deployment.planner.report import overview, ranking_table, tables, verdict
from omnijet.deployment.planner.typed import EXPORTED, commands
from omnijet.engines.targets.chosen import add_target, chosen_target
from omnijet.engines.targets.found import AUTO, described
from omnijet.engines.targets.target import TARGETS, Target
from omnijet.quantization.recipe_files.recipe_file import recipe_of
from omnijet.quantization.recipes import RECIPES, Recipe, recommended
from omnijet.runtime.bundle.contract import Precision
from omnijet.runtime.commands.console import (
    add_format,
    print_json,
    print_table,
    say,
    whole_number,
)
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.printable import show
from omnijet.runtime.files.whole_file import write_whole
from omnijet.runtime.machine.platform import this_platform
from omnijet.runtime.profiling.rates import matmul_peak, read_bandwidth
from omnijet.runtime.speech.presets import PRESETS, speech_preset

USUAL_MODEL, USUAL_PRESET = "3b", "balanced"
SHOWN = 12  # choices of a ranking
READ_BYTES = 1 << 28  # beyond any cache


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "model", nargs="?", default=USUAL_MODEL, metavar="MODEL",
        help="3b, 7b, a config.json, or the folder of a checkpoint or a bundle; default 3b",
    )  # fmt: skip
    add_target(parser)
    parser.add_argument(
        "--list", action="store_true", help="list what fits on every target, as without --target"
    )
    parser.add_argument(
        "--recipe", metavar="R",
        help=f"{', '.join(RECIPES)}, a file of your own, or {FLOATS}; default: the target's own",
    )  # fmt: skip
    parser.add_argument(
        "--context", type=whole_number(1), metavar="N",
        help="rows of the KV caches; with --fit, the fewest; default: the target's limit",
    )  # fmt: skip
    parser.add_argument(
        "--cells", type=whole_number(1), metavar="N",
        help="cells of the largest picture, each of 28 x 28 pixels; default: the target's limit",
    )  # fmt: skip
    parser.add_argument(
        "--preset", choices=PRESETS, help=f"how speech is made; default {USUAL_PRESET}"
    )
    parser.add_argument(
        "--fit", action="store_true",
        help="rank recipes, contexts and presets by the wait for the first sound, and print the "
        "commands that make the best",
    )  # fmt: skip
    parser.add_argument(
        "--fidelity", choices=get_args(Fidelity), default="good",
        help="what --fit must keep; default good",
    )  # fmt: skip
    parser.add_argument(
        "--measure", action="store_true",
        help="for the target cpu, measure how fast this machine reads and multiplies",
    )  # fmt: skip
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw it")
    add_format(parser)


def run(args: Namespace) -> int:
    """Plans a model and prints what was found; the exit code says nothing of whether it fits."""
    model = Model.named(args.model)
    if args.target is None or args.list:
        if args.fit or args.cells is not None or args.memory is not None:
            raise OmnijetError(
                "a device is needed", expected="--target T",
                fix="`omnijet plan` lists the targets; --target auto is this machine",
            )  # fmt: skip
        return _all(args, model)
    target = _target(args)
    cpu = _measured() if args.measure else BENCHED
    if args.fit:
        return _best(args, model, target, cpu)
    plan = plan_for(
        model.dims, target, _recipe(args.recipe, model, target), args.context,
        speech_preset(args.preset or USUAL_PRESET), cells=args.cells, cpu=cpu,
        precision=_precision(model),
    )  # fmt: skip
    if model.manifest is not None:
        plan = with_files(plan, model.manifest)
    _draw(args, [(plan.recipe, plan)], f"{model.title} on {target.title}")
    if args.format == "json":
        print_json({"model": model.title, **plan.to_json()})
        return 0
    for table in tables(plan, target):
        print_table(table)
    for line in verdict(plan):
        show(line)
    return 0


def _all(args: Namespace, model: Model) -> int:
    rows = []
    for target in TARGETS.values():
        recipe = _recipe(args.recipe, model, target)
        context = args.context
        preset = speech_preset(args.preset or USUAL_PRESET)
        precision = _precision(model)
        plan = plan_for(model.dims, target, recipe, context, preset, precision=precision)
        rows.append((target, plan))
    _draw(args, [(target.name, plan) for target, plan in rows], model.title)
    if args.format == "json":
        print_json({"model": model.title, "plans": [plan.to_json() for _, plan in rows]})
        return 0
    print_table(overview(rows))
    show("next: omnijet plan MODEL --target T --fit")
    return 0


def _best(args: Namespace, model: Model, target: Target, cpu: Peaks) -> int:
    recipes: Sequence[Recipe | None] | None = None
    if args.recipe is not None or _quantized_by(model) is not None:
        recipes = (_recipe(args.recipe, model, target),)
    presets = (args.preset,) if args.preset else tuple(PRESETS)
    found = ranked(
        model.dims, target, args.fidelity, least_context=args.context, recipes=recipes,
        presets=presets, cpu=cpu, precision=_precision(model),
    )  # fmt: skip
    if not found:
        raise OmnijetError(
            "nothing keeps the fidelity asked for",
            expected=f"--fidelity {args.fidelity}",
            got=", ".join(filter(None, (args.recipe, args.preset))),
            fix="ask for less (--fidelity any), or leave --recipe and --preset out",
        )
    own = args.recipe if args.recipe not in (None, FLOATS) else None
    typed = commands(model, found[0], target, own) if found[0].plan.fits else []
    named = [
        (f"{one.plan.recipe}, {one.plan.preset}, {one.plan.context:,}", one.plan)
        for one in found[:SHOWN]
    ]
    _draw(args, named, f"{model.title} on {target.title}")
    if args.format == "json":
        print_json(_ranking_json(model, found, typed))
        return 0
    print_table(ranking_table(found, SHOWN))
    if not typed:
        show("nothing fits this device")
        return 0
    for line in verdict(found[0].plan)[1:]:
        show(line)
    show("to make the best:")
    for line in typed:
        show(f"  {line}")
    return 0


def _ranking_json(model: Model, found: Sequence[Ranked], typed: Sequence[str]) -> dict[str, Any]:
    return {
        "model": model.title,
        "choices": [{**one.plan.to_json(), "cells": one.cells} for one in found],
        "commands": list(typed),
    }


def _target(args: Namespace) -> Target:
    """Returns the target asked for; of this machine's processor, with the machine's memory."""
    platform = this_platform()
    target = chosen_target(args.target, args.memory, platform)
    if args.target != AUTO:
        return target
    say(described(platform))
    if target.memory_gb is None:
        return target.with_memory(platform.memory_bytes / 1e9)
    return target


def _recipe(name: str | None, model: Model, target: Target) -> Recipe | None:
    """Returns the recipe that is named, that a bundle has, or that is the target's own."""
    name = name or _quantized_by(model)
    if name is None:
        return recommended(target)
    return None if name == FLOATS else recipe_of(name)


def _quantized_by(model: Model) -> str | None:
    """Returns the recipe of a bundle; None for other models and for float bundles."""
    if model.manifest is None:
        return None
    recipe = model.manifest.quantization.get("recipe")
    return recipe if isinstance(recipe, str) and recipe in RECIPES else None


def _precision(model: Model) -> Precision:
    return EXPORTED if model.manifest is None else model.manifest.precision


def _measured() -> Peaks:
    """Measures this machine, whose integer products are taken to be as fast as those measured."""
    threads = os.cpu_count() or 1
    single = matmul_peak(threads)
    read = float(read_bandwidth(READ_BYTES, threads))
    int8 = single * BENCHED.int8 / BENCHED.single
    say(f"this machine reads {read / 1e9:.1f} GB/s and multiplies {single / 1e9:.0f} GFLOP/s")
    return Peaks.of_cpu(read, single, int8, "rates of this machine, measured now")


def _draw(args: Namespace, plans: Sequence[tuple[str, Plan]], title: str) -> None:
    if args.plot is not None:
        write_whole(args.plot, plot(plans, title).encode())
