"""`python -m tools.full_size.recipe BUNDLE`: the engines of a recipe at full size, and their sum.

Each graph of a float bundle is rounded by the recipe, lowered, and built ahead of time by
TensorRT-RTX; the machine needs no GPU. Nothing is calibrated: made-up activations give ranges and
divisors, because sizes do not depend on values. Graphs go one after another, and leave nothing but
a line; a Thinker of the 3B takes 6 GB of memory, and 4 GB of disk in --scratch.

    python -m tools.full_size.recipe build/build-full/f16 --recipe orin --target rtx-ampere
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from unittest.mock import patch

from omnijet.engines.library import Installed, find_library
from omnijet.engines.lowering.flavours import FLAVOURS
from omnijet.engines.process import interpreter
from omnijet.engines.profiles import block_of, profiles_for
from omnijet.engines.targets.target import TARGETS, Target
from omnijet.quantization.graph_rounding import GraphRounding
from omnijet.quantization.numerics import scaling
from omnijet.quantization.quantize import plan_for
from omnijet.quantization.recipe_files.recipe_file import recipe_of
from omnijet.quantization.recipes import Recipe
from omnijet.quantization.workers import in_turn
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.files.printable import show
from tests.quantization.seen import plausible_of
from tests.rtx import build, lowered

FEW = 1 << 14
"""Weights of a layer that the search for divisors tries: sizes do not depend on what it finds."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.full_size.recipe", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("bundle", type=Path, help="a float bundle in f16")
    parser.add_argument("--recipe", default="orin", help="a name or a file")
    parser.add_argument("--target", default="rtx-ampere", choices=TARGETS)
    parser.add_argument("--flavour", default="native", choices=FLAVOURS)
    parser.add_argument("--graphs", nargs="+", default=(), help="default: all")
    parser.add_argument("--scratch", type=Path, help="folder for files of minutes")
    options = parser.parse_args()
    bundle, target = Bundle.open(options.bundle), TARGETS[options.target]
    installed = find_library(target.library, interpreter(None, target.library))
    recipe = recipe_of(options.recipe)
    total = 0
    for graph in options.graphs or bundle.manifest.graphs:
        with tempfile.TemporaryDirectory(prefix="recipe-", dir=options.scratch) as work:
            path = rounded(bundle, recipe, graph, Path(work))
            verdict = built(bundle, graph, path, Path(work), target, installed, options.flavour)
        if not verdict["done"]:
            show(f"{graph}: refused by the {verdict['stage']}: {verdict['said']}")
            return 1
        total += verdict["bytes"]
        peak = f"{verdict['peak_bytes'] / 1e9:.2f} GB at the peak"
        show(f"{graph}: {verdict['bytes']:,} bytes, {verdict['seconds']:.0f} s, {peak}")
    show(f"together {total:,} bytes")
    return 0


def rounded(bundle: Bundle, recipe: Recipe, graph: str, work: Path) -> Path:
    """Returns the graph with layers rounded by the recipe; one without such layers as it is."""
    plan = {one: scheme for one, scheme in plan_for(bundle, recipe).items() if one.graph == graph}
    if not plan:
        return bundle.graph(graph)
    folder, seen = work / "rounded", plausible_of(plan)
    rounding = GraphRounding(bundle, plan, seen, folder, None, in_turn, lambda count: None)
    with patch.object(scaling, "SEARCHED", FEW):
        for _ in rounding.graphs([graph]):
            pass
    return folder / bundle.graph(graph).name


def built(
    bundle: Bundle, graph: str, path: Path, work: Path, target: Target, installed: Installed,
    flavour: str,
) -> dict:  # fmt: skip
    """Returns the verdict of a build with the limits of the target."""
    assert target.compute_capability is not None
    contract = bundle.manifest.contracts[graph]
    limits, block = target.limits, block_of(bundle.manifest.dims)
    source = lowered(path, contract, "none", work, flavour, limits["capacity"])
    profiles = profiles_for(contract, limits, installed.library, block)
    return build(source, profiles, contract, target.compute_capability, installed)


if __name__ == "__main__":
    raise SystemExit(main())
