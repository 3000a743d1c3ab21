"""`omnijet quantize BUNDLE OUT --recipe R`: integers or FP8 for floats, calibrated through the
pipeline."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections import Counter
from pathlib import Path
from typing import Any

from rich.table import Table

from engines.targets import TARGETS
from quantization.quantize import Calibration, bundle_layers, plan_for, quantize_bundle
from quantization.recipes import RECIPES, recipe_named
from runtime.bundle import Bundle
from runtime.commands.console import print_table, size_text, step_progress
from runtime.errors import OmnijetError
from runtime.manifest import Manifest

NO_DATA = "none"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="a float bundle")
    parser.add_argument("out", type=Path, nargs="?", metavar="OUT", help="folder to write")
    parser.add_argument("--recipe", metavar="R", help=", ".join(RECIPES))
    parser.add_argument(
        "--target", choices=TARGETS, help="refuse a recipe that this machine cannot run"
    )
    parser.add_argument(
        "--data",
        metavar="PATH",
        help="calibrate on a folder of media or a JSONL file of messages; by default on the "
        f"conversations that come along; {NO_DATA!r}: on nothing, weights alone are rounded",
    )
    parser.add_argument("--seed", type=int, default=0, help="of calibration; default 0")
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")
    parser.add_argument("--list", action="store_true", help="list the recipes and stop")
    parser.add_argument("--layers", action="store_true", help="list the layers and stop")


def run(args: Namespace) -> int:
    """Quantizes and says what was written."""
    if args.list:
        print_table(_recipes())
        return 0
    bundle = Bundle.open(args.bundle)
    if args.layers:
        print_table(_layers(bundle))
        return 0
    if args.recipe is None or args.out is None:
        raise OmnijetError(
            "nothing says what to make",
            expected="omnijet quantize BUNDLE OUT --recipe R",
            fix="`omnijet quantize BUNDLE --list` shows the recipes",
        )
    recipe = recipe_named(args.recipe)
    plan = plan_for(bundle, recipe, TARGETS[args.target] if args.target else None)
    with step_progress() as progress:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        manifest = quantize_bundle(
            args.bundle, args.out, recipe, plan, _calibration(args), force=args.force,
            progress=report,
        )  # fmt: skip
    print_table(_summary(bundle.manifest, manifest))
    print(f"next: omnijet check {args.out} --fidelity")
    return 0


def _calibration(args: Namespace) -> Calibration | None:
    if args.data == NO_DATA:
        return None
    data = None if args.data is None else Path(args.data)
    # beside the bundle, so that a run that was cut is found by the next
    state = args.out.absolute().parent / f".{args.out.name}.calibration.npz"
    return Calibration(data, args.seed, state)


def _recipes() -> Table:
    table = Table("recipe", "for", "runs on")
    for recipe in RECIPES.values():
        able = [name for name, target in TARGETS.items() if recipe.needs <= target.numbers]
        table.add_row(recipe.name, recipe.purpose, ", ".join(able))
    return table


def _layers(bundle: Bundle) -> Table:
    table = Table("graph", "layer", "inputs", "outputs")
    for layer in bundle_layers(bundle):
        table.add_row(layer.graph, layer.name, str(layer.inputs), str(layer.outputs))
    return table


def _summary(before: Manifest, after: Manifest) -> Table:
    """Bytes of each graph's weights, and what its layers became."""
    table = Table("graph", "float", "quantized", "layers", title=after.quantization["recipe"])
    for name, entry in before.graphs.items():
        layers = after.quantization["layers"].get(name, {})
        made = Counter(layer["scheme"] for layer in layers.values())
        table.add_row(
            name, size_text(entry.weight_bytes), size_text(after.graphs[name].weight_bytes),
            "\n".join(f"{count} {scheme}" for scheme, count in made.items()) or "as they were",
        )  # fmt: skip
    return table
