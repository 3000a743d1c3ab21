"""`--budget`: measures each layer's sensitivity, then finds the smallest mix within the budget."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from omnijet.quantization.budget.frontier import Choice, Mix, frontier, smallest_that
from omnijet.quantization.budget.parallel import Run
from omnijet.quantization.budget.trials import DECODERS, Bench, Outcome
from omnijet.quantization.layers import Layer
from omnijet.quantization.recipes import Recipe, Rule
from omnijet.quantization.schemes import Scheme, WeightScheme
from omnijet.runtime.errors import OmnijetError

OFFERED = (
    Scheme(WeightScheme("int8", 64)),
    Scheme(WeightScheme("int4", 32, scaling=True)),
    Scheme(WeightScheme("int4", 64, scaling=True)),
)
"""Schemes that are tried for each layer."""

Progress = Callable[[str, int, int], None]
"""Receives (what, done, total)."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a mix must keep to.

    Attributes:
        kind: `bytes`: the weights of Thinker and Talker take at most this many bytes.
            `fidelity`: in at least this share of steps, the most likely token is the float
            bundle's, both for text and for codec tokens.
    """

    kind: Literal["bytes", "fidelity"]
    limit: float

    @staticmethod
    def parse(text: str) -> Budget:
        """Parses `bytes=2.5e9`, `bytes=2.5GB` or `fidelity=0.99`. Raises `OmnijetError`."""
        kind, _, value = text.partition("=")
        factor = 1.0
        for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
            if kind == "bytes" and value.endswith(unit):
                value, factor = value.removesuffix(unit), size
        try:
            limit = float(value) * factor
        except ValueError:
            limit = -1.0
        if kind == "bytes" and 0 < limit < float("inf"):
            return Budget("bytes", limit)
        if kind == "fidelity" and 0 < limit <= 1:
            return Budget("fidelity", limit)
        raise OmnijetError(
            "the budget cannot be read",
            where="--budget",
            expected="bytes=2.5GB, or fidelity=0.99 (a share of steps, up to 1)",
            got=text,
        )


@dataclass(frozen=True, slots=True)
class Found:
    """The chosen mix and its measured outcome."""

    mix: Mix
    outcome: Outcome

    def recipe(self, name: str) -> Recipe:
        """Returns a recipe that names the mix's layers."""
        rules = [Rule(layer.graph, layer.name, scheme) for layer, scheme in self.mix.plan.items()]
        return Recipe(name, "of a budget", tuple(rules))


def search(
    bench: Bench,
    layers: Sequence[Layer],
    budget: Budget,
    run: Run[Any, Any],
    progress: Progress = lambda what, done, total: None,
) -> Found:
    """Returns the smallest mix within the budget.

    Raises:
        OmnijetError: no mix keeps the budget; the error says how near one comes.
    """
    decoders = [layer for layer in layers if layer.graph in DECODERS]
    trials = [
        (layer, scheme) for layer in decoders for scheme in OFFERED
        if scheme.weights.fits(layer.inputs)
    ]  # fmt: skip
    if budget.kind == "bytes":
        _require_reach(budget, decoders, trials)
    plans = [{layer: scheme} for layer, scheme in trials]
    harms = [0.0] * len(trials)
    progress("measuring layers", 0, len(trials))
    for done, (number, outcome) in enumerate(run(partial(_alone, bench), plans), start=1):
        harms[number] = outcome.harm
        progress("measuring layers", done, len(trials))
    offers: defaultdict[Layer, list[Choice]] = defaultdict(list)
    for layer in decoders:
        offers[layer].append(Choice(None, layer.float_bytes, 0.0))
    for (layer, scheme), harm in zip(trials, harms, strict=True):
        if math.isfinite(harm):
            offers[layer].append(Choice(scheme, _bytes(layer, scheme), harm))
    mixes = frontier(offers)
    if budget.kind == "bytes":
        chosen = next((mix for mix in mixes if mix.bytes <= budget.limit), None)
        if chosen is None:
            raise _nothing_fits(budget, f"{mixes[-1].bytes:,} bytes with every layer at its least")
        outcome = bench.run(chosen.plan)
        if not math.isfinite(outcome.harm):
            raise _nothing_fits(budget, "logits that are not finite")
        return Found(chosen, outcome)
    outcomes: dict[int, Outcome] = {}

    def keeps(mix: Mix) -> bool:
        outcomes[mix.bytes] = bench.run(mix.plan)
        progress("measuring mixes", len(outcomes), 0)
        return outcomes[mix.bytes].agreement >= budget.limit

    chosen = smallest_that(mixes, keeps)
    if chosen is None:
        got = f"{outcomes[mixes[0].bytes].agreement:.4f} with the layers as they are"
        raise _nothing_fits(budget, got)
    return Found(chosen, outcomes[chosen.bytes])


def _bytes(layer: Layer, scheme: Scheme) -> int:
    return scheme.weights.bytes_of(layer.inputs, layer.outputs, layer.itemsize)


def _require_reach(
    budget: Budget, layers: Sequence[Layer], trials: Sequence[tuple[Layer, Scheme]]
) -> None:
    """Refuses an unreachable number of bytes before anything is measured."""
    least = {layer: layer.float_bytes for layer in layers}
    for layer, scheme in trials:
        least[layer] = min(least[layer], _bytes(layer, scheme))
    if (fewest := sum(least.values())) > budget.limit:
        raise _nothing_fits(budget, f"{fewest:,} bytes with every layer at its least")


def _alone(bench: Bench, plan: dict[Layer, Scheme]) -> Outcome:
    """Runs one of many parallel trials: ONNX Runtime takes one core."""
    return bench.run(plan, threads=1)


def _nothing_fits(budget: Budget, got: str) -> OmnijetError:
    return OmnijetError(
        "no mix of precisions keeps the budget",
        where="--budget",
        expected=f"{budget.kind}={budget.limit:g}",
        got=got,
        fix="allow more",
    )
