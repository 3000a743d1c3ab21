"""`omnijet quantize BUNDLE OUT --recipe R`: replaces floats by integers or FP8.

Ranges are calibrated by running conversations through the pipeline.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path

from rich.table import Table

from omnijet.engines.targets.chosen import chosen_target
from omnijet.engines.targets.found import AUTO, target_here
from omnijet.engines.targets.target import TARGETS, Target
from omnijet.quantization.calibration.limits import Limits
from omnijet.quantization.recipe_files.recipe_file import SUFFIX, recipe_of, to_toml
from omnijet.quantization.recipes import RECIPES, Recipe, recommended
from omnijet.runtime.commands.console import print_table, whole_number
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.printable import show
from omnijet.runtime.machine.platform import this_platform

NO_DATA = "none"
TRIED = 16  # conversations that mixes are tried on


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "bundle", type=Path, nargs="?", metavar="BUNDLE", help="a float bundle; no list needs one"
    )
    parser.add_argument("out", type=Path, nargs="?", metavar="OUT", help="folder to write")
    parser.add_argument(
        "--recipe", metavar="R",
        help=f"{', '.join(RECIPES)}, or a file {SUFFIX} of your own; with --target and without "
        "--recipe, the one of that machine",
    )  # fmt: skip
    parser.add_argument(
        "--print-recipe", action="store_true",
        help="print the recipe as a file to make your own of, and stop",
    )  # fmt: skip
    parser.add_argument(
        "--budget",
        metavar="B",
        help="instead of a recipe, the smallest mix of INT4, INT8 and float weights in Thinker "
        "and Talker: bytes=2.5GB at most, or fidelity=0.99 at least (share of steps with the "
        "float bundle's most likely token)",
    )
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="try mixes on a Ray cluster that sees the same files"
    )
    parser.add_argument(
        "--scratch",
        type=Path,
        metavar="FOLDER",
        help="folder for files of the trials; a cluster needs a shared one",
    )
    parser.add_argument(
        "--target", metavar="T",
        help="the machine that will run it: a recipe that it cannot run is refused. `omnijet build "
        f"--list` shows all; {AUTO}: this machine",
    )  # fmt: skip
    parser.add_argument(
        "--data",
        metavar="PATH",
        help="calibrate on a folder of media or a JSONL file of messages; by default on "
        f"built-in conversations that fit the bundle; {NO_DATA!r}: on nothing, "
        "so only weights are rounded",
    )
    parser.add_argument(
        "--items", type=whole_number(1), metavar="N",
        help="calibrate on the first N conversations only; a budget's mixes are tried on the "
        f"first {TRIED}, or as many as are given here",
    )  # fmt: skip
    parser.add_argument(
        "--max-text-tokens", type=whole_number(1), metavar="N",
        help=f"most text tokens of a reply in calibration; default {Limits().text_tokens}",
    )  # fmt: skip
    parser.add_argument(
        "--max-codes", type=whole_number(1), metavar="N",
        help=f"most codec tokens of a reply in calibration; default {Limits().codes}",
    )  # fmt: skip
    parser.add_argument(
        "--low-memory", action="store_true",
        help="leave weights in their files during calibration: slower, but a 3B fits in 4 GB",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="seed of calibration; default 0")
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")
    parser.add_argument("--list", action="store_true", help="list the recipes and stop")
    parser.add_argument("--layers", action="store_true", help="list the layers and stop")


def run(args: Namespace) -> int:
    """Quantizes a bundle and prints what was written."""
    if args.list:
        print_table(recipes_table(target_here(this_platform())))
        show("a recipe of your own is a file: --recipe orin --print-recipe prints one to change")
        return 0
    if args.print_recipe:
        show(to_toml(_printed(args)))
        return 0
    if args.bundle is None:
        raise OmnijetError(
            "no bundle is given",
            expected="omnijet quantize BUNDLE OUT, with --recipe R, --budget B or --target T",
            fix="`omnijet quantize --list` shows the recipes",
        )
    # needs the extra [quantize], which a list does not
    code: int = import_module("omnijet.quantization.quantizing").run(args)
    return code


def target_of(args: Namespace) -> Target | None:
    """Returns the target that is named, this machine's for `auto`; None: none is named."""
    return None if args.target is None else chosen_target(args.target, None, this_platform())


def asked_recipe(args: Namespace, target: Target | None) -> Recipe | None:
    """Returns the recipe that is named, or that of the target; None: a budget decides."""
    if args.recipe is not None:
        return recipe_of(args.recipe)
    return None if args.budget is not None or target is None else recommended(target)


def _printed(args: Namespace) -> Recipe:
    if args.recipe is None and args.target is None:
        raise OmnijetError(
            "no recipe is named", where="--print-recipe", expected="--recipe R or --target T",
            fix="`omnijet quantize --list` shows the recipes",
        )  # fmt: skip
    recipe = asked_recipe(args, target_of(args))
    if recipe is None:
        raise OmnijetError("a budget is no recipe", where="--print-recipe", got="--budget")
    return recipe


FAMILIES: Mapping[str, Callable[[Target], bool]] = {
    "Jetson Orin": lambda target: target.compute_capability == 87,
    "Jetson Thor": lambda target: target.compute_capability == 110,
    "cards before Ada": lambda target: _is_card(target) and "fp8" not in target.numbers,
    "cards since Ada": lambda target: _is_card(target) and "fp8" in target.numbers,
    "DGX Spark": lambda target: target.compute_capability == 121,
    "processors": lambda target: target.device.name == "cpu",
    "ONNX Runtime with CUDA": lambda target: target.device.name == "cuda",
}
"""Machines in a user's words -> their targets. Every target is of one family."""


def _is_card(target: Target) -> bool:
    return target.compute_capability is not None and not target.device.shared


def recipes_table(here: Target | None) -> Table:
    """Returns one row for each recipe.

    Args:
        here: the target of this machine; None: it has none.
    """
    table = Table("recipe", "for", "taken by itself for", "runs on", "this machine")
    for recipe in RECIPES.values():
        own = families(partial(_takes, recipe))
        able = families(recipe.runs_on)
        table.add_row(recipe.name, recipe.purpose, own, able, _verdict(recipe, here))
    return table


def _takes(recipe: Recipe, target: Target) -> bool:
    return recommended(target) is recipe


def families(holds: Callable[[Target], bool]) -> str:
    """Returns the families of machines for which something holds, in words."""
    chosen = [
        name
        for name, is_of in FAMILIES.items()
        if all(holds(target) for target in TARGETS.values() if is_of(target))
    ]
    return "all" if len(chosen) == len(FAMILIES) else ", ".join(chosen)


def _verdict(recipe: Recipe, here: Target | None) -> str:
    if here is None or not recipe.runs_on(here):
        return ""
    return "takes it by itself" if _takes(recipe, here) else "runs it"
