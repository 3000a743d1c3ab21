"""Which recipe, context and preset a device should get: ranked by the wait for the first sound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from omnijet.deployment.planner.fidelity import Fidelity, is_enough
from omnijet.deployment.planner.peaks import BENCHED, Peaks
from omnijet.deployment.planner.plan import FLOATS, Plan, plan_for
from omnijet.deployment.planner.sizes import PICTURE_CELLS, Sizes
from omnijet.engines.targets.limits import LEAST_CAPACITY
from omnijet.engines.targets.target import Target
from omnijet.quantization.recipes import RECIPES, Recipe
from omnijet.runtime.bundle.contract import Precision
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.speech.presets import PRESETS


@dataclass(frozen=True, slots=True)
class Ranked:
    """One choice.

    Attributes:
        cells: of the largest picture, if it is smaller than the target's limit; else None.
        own_context: whether the context is the target's own.
    """

    plan: Plan
    cells: int | None
    own_context: bool

    @property
    def key(self) -> tuple[bool, bool, float, int]:
        """What fits and keeps pace comes first, then what is heard first."""
        plan = self.plan
        pace = plan.speeds.get("real-time factor")
        late = pace is not None and pace.value > 1
        wait = plan.first_pcm_s
        if wait is None:  # without a voice, what writes fastest
            wait = 1 / plan.speeds["decode"].value if plan.speeds else 0.0
        return not plan.fits, late, wait, -plan.context


def ranked(
    dims: ModelDims,
    target: Target,
    fidelity: Fidelity = "good",
    *,
    least_context: int | None = None,
    recipes: Sequence[Recipe | None] | None = None,
    presets: Sequence[str] = tuple(PRESETS),
    precision: Precision = "f16",
    cpu: Peaks = BENCHED,
) -> list[Ranked]:
    """Returns the choices of a device at the fidelity asked for, the best first.

    Args:
        least_context: rows that the KV caches must have; None: 2,048.
        recipes: those to choose from; None: all that the target can run, and floats.

    Raises:
        OmnijetError: the model knows no so many positions.
    """
    if recipes is None:
        able = [recipe for recipe in RECIPES.values() if recipe.runs_on(target)]
        recipes = (None, *able)
    found = []
    own = Sizes.of(dims, target).capacity
    for recipe in recipes:
        name = FLOATS if recipe is None else recipe.name
        for preset in presets:
            if not is_enough(fidelity, name, preset):
                continue
            for context in _contexts(dims, target, least_context):
                for cells in (None, PICTURE_CELLS):
                    plan = plan_for(
                        dims, target, recipe, context, PRESETS[preset],
                        precision=precision, cpu=cpu, cells=cells,
                    )  # fmt: skip
                    found.append(Ranked(plan, cells, context == own))
                    if plan.fits:  # smaller pictures gain nothing then
                        break
    return sorted(found, key=lambda one: one.key)


def _contexts(dims: ModelDims, target: Target, least: int | None) -> Iterator[int]:
    """Yields lengths of the caches: the least, its doubles, and the target's own."""
    own = Sizes.of(dims, target).capacity
    rows = Sizes.of(dims, target, least or min(LEAST_CAPACITY, own)).capacity
    while rows < own:
        yield rows
        rows *= 2
    yield max(own, least or 0)
