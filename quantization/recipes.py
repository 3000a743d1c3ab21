"""Recipes: which scheme each layer gets, as data.

Three things stay floats in every recipe: the vocoder, whose SnakeBeta vanishes in few bits; the
DiT's first and last layer, which read mel frames and write velocities; and all that is no product
with a weight, such as norms, rotary positions, softmax and sampling.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Literal

from omnijet.engines.targets.target import Numbers, Target
from omnijet.quantization.layers import Layer
from omnijet.quantization.schemes import (
    BLOCKS,
    EightBits,
    Scheme,
    WeightScheme,
    both,
    needs_of,
)
from omnijet.runtime.errors import OmnijetError

Form = Literal["standard", "cpu"]
"""Form of the graphs: standard Q/DQ, or the form that ONNX Runtime runs fastest on a CPU."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A scheme for the layers whose graph and name match two patterns (`*`, `?`, `[...]`).

    Attributes:
        scheme: None: the layers stay as they are.
    """

    graph: str
    layers: str
    scheme: Scheme | None

    def matches(self, layer: Layer) -> bool:
        return fnmatchcase(layer.graph, self.graph) and fnmatchcase(layer.name, self.layers)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Rules for layers: the last that matches a layer, and whose blocks divide its inputs, decides.

    Other layers stay floats.

    Attributes:
        purpose: one line for `--list`.
    """

    name: str
    purpose: str
    rules: tuple[Rule, ...]
    form: Form = "standard"

    def plan(self, layers: Sequence[Layer], absent: Collection[str] = ()) -> dict[Layer, Scheme]:
        """Returns the scheme of each layer that changes.

        Args:
            layers: all layers of a bundle.
            absent: graphs that the bundle does without; rules for them need no layer.

        Raises:
            OmnijetError: rules match no layer; the error names all of them.
        """
        faults = [
            f"{rule.graph}: {rule.layers}{_hint(rule, layers)}"
            for rule in self.rules
            if not any(map(rule.matches, layers))
            and not any(fnmatchcase(graph, rule.graph) for graph in absent)
        ]
        if faults:
            raise OmnijetError(
                f"{len(faults)} of {len(self.rules)} rules of a recipe match no layer",
                where=f"recipe {self.name}",
                expected="patterns of graphs and layers; `omnijet quantize BUNDLE --layers` lists",
                got="\n            ".join(faults),
                fix="mend these patterns in the recipe, or leave the rules out",
            )
        plan = {}
        for layer in layers:
            found = [rule.scheme for rule in self.rules if rule.matches(layer)]
            schemes = [one for one in found if one is None or one.weights.fits(layer.inputs)]
            if schemes and (scheme := schemes[-1]) is not None:
                plan[layer] = scheme
        return plan

    def runs_on(self, target: Target) -> bool:
        """Returns whether a target has the numbers and the operators of this recipe."""
        for_cpu = target.device.name == "cpu"
        return self.needs <= target.numbers and (for_cpu or self.form == "standard")

    @property
    def rounds_weights_alone(self) -> bool:
        """Whether no activation is rounded, so that it can do without calibration."""
        return all(rule.scheme is None or rule.scheme.activations is None for rule in self.rules)

    @property
    def needs(self) -> frozenset[Numbers]:
        """Types that a target must compute with, besides floats."""
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
INT4_LONG = Scheme(WeightScheme("int4", 128, scaling=True))
"""Longer blocks are read and multiplied faster on a CPU (`python -m tools.bench.products`)."""
INT8 = Scheme(WeightScheme("int8", 64))
INT8_LONG = Scheme(WeightScheme("int8", 128))
DECODERS = ("thinker_step", "talker_step")


def _decoders(layers: Scheme, head: Scheme | None) -> tuple[Rule, ...]:
    rules = [Rule(graph, "decoder.layers.*", layers) for graph in DECODERS]
    return (*rules, *(Rule(graph, "head.weight", head) for graph in DECODERS))


def _long_decoders() -> tuple[Rule, ...]:
    """Returns rules for INT4 with heads in INT8, in the longest blocks that divide a layer."""
    rules: list[Rule] = []
    for block in BLOCKS:  # the last that fits decides
        layers = Scheme(WeightScheme("int4", block, scaling=True))
        rules += _decoders(layers, Scheme(WeightScheme("int8", block)))
    return tuple(rules)


def _encoders(scheme: Scheme) -> tuple[Rule, ...]:
    return (Rule("audio_encoder", "layers.*", scheme), Rule("vision_encoder", "blocks.*", scheme))


def _dit(scheme: Scheme) -> tuple[Rule, ...]:
    return (Rule("dit_step", "blocks.*", scheme),)


def _both(dtype: EightBits) -> tuple[Rule, ...]:
    """Returns rules for weights and activations of one type.

    A few features of a SwiGLU's output reach hundreds, and one scale for all features would lose
    the others, so the activations of the layer that reads it stay floats.
    """
    return (
        *_decoders(both(dtype, "max", migration=0.5), None),
        *(Rule(graph, "*.down.weight", INT8) for graph in DECODERS),
        *_encoders_and_dit(dtype),
    )


def _encoders_and_dit(dtype: EightBits) -> tuple[Rule, ...]:
    """Returns rules for weights and activations of one type in all but the decoders."""
    return (*_encoders(both(dtype, "max")), *_dit(both(dtype, "max", migration=0.5)))


RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("orin", "Orin, and cards before Ada: INT4 decoder weights, INT8 encoders and DiT",
               (*_decoders(INT4, INT8), *_encoders_and_dit("int8"))),
        Recipe("orin-int4", "Orin, floats in encoders and DiT: INT4 decoder weights, INT8 heads",
               _decoders(INT4, INT8)),
        Recipe("orin-int8", "Orin, long prompts: INT8 weights and activations, DiT too",
               _both("int8")),
        Recipe("ada-fp8", "Ada, Hopper, Blackwell: FP8 weights and activations", _both("fp8")),
        Recipe("thor-fp8", "Thor: INT4 decoder weights, FP8 encoders and DiT",
               (*_decoders(INT4, INT8), *_encoders_and_dit("fp8"))),
        Recipe("cpu-int8", "x86-64 and ARM: INT8 weights and activations, DiT too",
               _both("int8"), "cpu"),
        Recipe("cpu-int4", "x86-64 and ARM, little memory: INT4 decoder weights, the rest INT8",
               (*_long_decoders(), *_encoders_and_dit("int8")), "cpu"),
    )
}  # fmt: skip

RECOMMENDED: Mapping[str, str] = {
    "cpu": "cpu-int4", "cuda": "orin-int4", "integers": "orin", "fp8": "ada-fp8",
    "fp8, shared memory": "thor-fp8",
}  # fmt: skip
"""The recipe of a kind of machine, for whoever names none. Decode reads all weights of a decoder at
every step, so that a machine with little bandwidth gets INT4 there. ONNX Runtime's CUDA provider
has no kernel for products of integers (`omnijet.engines.lowering.fused.narrow`)."""


def recommended(target: Target) -> Recipe:
    """Returns the recipe of a target if nobody names one; the target can run it."""
    kind = "fp8" if "fp8" in target.numbers else "integers"
    if target.library == "onnxruntime":
        kind = "cpu" if target.device.name == "cpu" else "cuda"
    elif kind == "fp8" and target.device.shared:
        kind = "fp8, shared memory"
    return RECIPES[RECOMMENDED[kind]]


def recipe_named(name: str) -> Recipe:
    """Returns a recipe by name. Raises `OmnijetError` if there is none."""
    if name not in RECIPES:
        near = get_close_matches(name, RECIPES, 1)
        raise OmnijetError(
            f"there is no recipe {name!r}",
            expected="one of " + ", ".join(RECIPES),
            fix=f"did you mean {near[0]!r}?" if near else None,
        )
    return RECIPES[name]
