"""Recipes: which layers become what. Data; `omnijet quantize` does the work.

No rule names the vocoder, whose SnakeBeta falls silent in few bits, the layers that take mel
frames in and hand velocities out, or anything but products with weights: norms, rotary
positions, softmax and sampling keep the precision of the float bundle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Literal

from omnijet.engines.targets.target import Numbers, Target
from omnijet.quantization.layers import Layer
from omnijet.quantization.schemes import EightBits, Scheme, WeightScheme, both, needs_of
from omnijet.runtime.errors import OmnijetError

Form = Literal["standard", "cpu"]
"""Of the graphs: standard Q/DQ, or as ONNX Runtime runs it fastest on a CPU."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Patterns (`*`, `?`, `[...]`) of a graph and of a layer's name, and what becomes of them;
    None: they stay as they are."""

    graph: str
    layers: str
    scheme: Scheme | None

    def matches(self, layer: Layer) -> bool:
        return fnmatchcase(layer.graph, self.graph) and fnmatchcase(layer.name, self.layers)


@dataclass(frozen=True, slots=True)
class Recipe:
    """The last rule that matches a layer decides; a layer that none matches stays.

    Attributes:
        purpose: in a line, for `--list`.
    """

    name: str
    purpose: str
    rules: tuple[Rule, ...]
    form: Form = "standard"

    def plan(self, layers: Sequence[Layer]) -> dict[Layer, Scheme]:
        """What becomes of which layer.

        Raises:
            OmnijetError: a rule matches nothing; all such rules are named.
        """
        faults = [
            f"{rule.graph}: {rule.layers}{_hint(rule, layers)}"
            for rule in self.rules
            if not any(map(rule.matches, layers))
        ]
        if faults:
            raise OmnijetError(
                f"{len(faults)} of {len(self.rules)} rules of a recipe match no layer",
                where=f"recipe {self.name}",
                expected="patterns of graphs and layers; `omnijet quantize BUNDLE --layers` lists",
                got="\n            ".join(faults),
            )
        plan = {}
        for layer in layers:
            schemes = [rule.scheme for rule in self.rules if rule.matches(layer)]
            if schemes and schemes[-1] is not None:
                plan[layer] = schemes[-1]
        return plan

    def runs_on(self, target: Target) -> bool:
        """Whether it has the numbers, and the operators, that the recipe makes."""
        for_cpu = target.compute_capability is None
        return self.needs <= target.numbers and (for_cpu or self.form == "standard")

    @property
    def needs(self) -> frozenset[Numbers]:
        """What a target must compute with."""
        return needs_of(rule.scheme for rule in self.rules if rule.scheme is not None)


def _hint(rule: Rule, layers: Sequence[Layer]) -> str:
    graphs = sorted({layer.graph for layer in layers})
    if not any(fnmatchcase(graph, rule.graph) for graph in graphs):
        near = get_close_matches(rule.graph, graphs, 1)
        return f" (no such graph{f'; did you mean {near[0]!r}?' if near else ''})"
    names = [layer.name for layer in layers if fnmatchcase(layer.graph, rule.graph)]
    near = get_close_matches(rule.layers, names, 1, 0.4)
    return f" (no such layer{f'; near is {near[0]!r}' if near else ''})"


INT4 = Scheme(WeightScheme("int4", 64, scaling=True))
INT4_FINE = Scheme(WeightScheme("int4", 32, scaling=True))
INT8 = Scheme(WeightScheme("int8", 64))
DECODERS = ("thinker_step", "talker_step")


def _decoders(layers: Scheme, head: Scheme | None) -> tuple[Rule, ...]:
    rules = [Rule(graph, "decoder.layers.*", layers) for graph in DECODERS]
    return (*rules, *(Rule(graph, "head.weight", head) for graph in DECODERS))


def _encoders(scheme: Scheme) -> tuple[Rule, ...]:
    return (Rule("audio_encoder", "layers.*", scheme), Rule("vision_encoder", "blocks.*", scheme))


def _dit(scheme: Scheme) -> tuple[Rule, ...]:
    return (Rule("dit_step", "blocks.*", scheme),)


def _both(dtype: EightBits) -> tuple[Rule, ...]:
    """Weights and activations. What the SwiGLU makes reaches hundreds in a few features: one
    scale for all loses the rest, so that the layer that reads it keeps its activations."""
    moved, plain = both(dtype, "max", migration=0.5), both(dtype, "max")
    return (
        *_decoders(moved, None),
        *(Rule(graph, "*.down.weight", INT8) for graph in DECODERS),
        *_encoders(plain),
        *_dit(moved),
    )


RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("orin-int4", "Orin, little memory: INT4 weights in Thinker and Talker, INT8 heads",
               _decoders(INT4, INT8)),
        Recipe("orin-int8", "Orin, long prompts: INT8 weights and activations, DiT too",
               _both("int8")),
        Recipe("ada-fp8", "Ada, Hopper, Blackwell: FP8 weights and activations", _both("fp8")),
        Recipe("thor-fp8", "Thor: INT4 decoder weights, FP8 encoders and DiT",
               (*_both("fp8"), *_decoders(INT4, INT8))),
        Recipe("cpu-int8", "x86-64 and ARM: INT8 weights and activations, DiT too",
               _both("int8"), "cpu"),
        Recipe("cpu-int4", "x86-64 and ARM, little memory: INT4 decoder weights, the rest INT8",
               (*_both("int8"), *_decoders(INT4_FINE, INT8)), "cpu"),
    )
}  # fmt: skip


def recipe_named(name: str) -> Recipe:
    """Raises `OmnijetError` if there is none."""
    if name not in RECIPES:
        near = get_close_matches(name, RECIPES, 1)
        raise OmnijetError(
            f"there is no recipe {name!r}",
            expected="one of " + ", ".join(RECIPES),
            fix=f"did you mean {near[0]!r}?" if near else None,
        )
    return RECIPES[name]
