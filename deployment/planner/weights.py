"""The bytes of a model's weights under a recipe on a target, and the numbers they are made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from omnijet.engines.targets.target import Target
from omnijet.quantization.layers import Layer
from omnijet.quantization.recipes import Recipe
from omnijet.quantization.schemes import Scheme
from omnijet.quantization.sizes.layers import layers_of_dims
from omnijet.quantization.sizes.parameters import parameters_of
from omnijet.runtime.bundle.contract import NUMPY_DTYPES, SPEECH_GRAPHS, Precision
from omnijet.runtime.bundle.dims import ModelDims

Stored = Literal["int4", "int8", "float"]
"""What a weight is read as at every step; FP8 counts as 8 bits."""
Multiplied = Literal["int8", "fp8", "narrow", "half", "single"]
"""What a product multiplies; `narrow`: integer weights with float activations."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of one graph.

    Attributes:
        stored: bytes by what they are stored as; norms, biases and convolutions are floats.
        multiplied: weights of products by what is multiplied.
        largest: bytes of the largest tensor.
    """

    stored: Mapping[Stored, int]
    multiplied: Mapping[Multiplied, int]
    largest: int

    @property
    def bytes(self) -> int:
        return sum(self.stored.values())

    @property
    def weight_bytes(self) -> int:
        """The same, by the name that `omnijet.runtime.profiling.workload` knows."""
        return self.bytes


@dataclass(frozen=True, slots=True)
class Held:
    """All weights of a model, as `omnijet.runtime.profiling.workload` counts their work.

    Attributes:
        precision: of the KV caches and of the float weights.
    """

    precision: Precision
    graphs: Mapping[str, Weights]

    @property
    def bytes(self) -> int:
        return sum(graph.bytes for graph in self.graphs.values())


def is_wide(target: Target) -> bool:
    """Returns whether floats of 16 bits become f32 there, as ONNX Runtime's CPU kernels want."""
    return target.device.name == "cpu"


def weights_of(
    dims: ModelDims, precision: Precision, recipe: Recipe | None, target: Target
) -> Held:
    """Returns the weights of every graph as the target gets them.

    Args:
        precision: of the float bundle; the caches have it, too.
        recipe: None: all weights stay floats.

    Raises:
        OmnijetError: a rule of the recipe matches no layer.
    """
    held: Precision = "f32" if is_wide(target) else precision
    return _weights(dims, held, recipe, target.toolkit.has_int8_blocks)


@cache  # a table of all targets asks for the same few again and again
def _weights(dims: ModelDims, held: Precision, recipe: Recipe | None, int8_blocks: bool) -> Held:
    layers = {(layer.graph, layer.name): layer for layer in layers_of_dims(dims, held)}
    absent = () if dims.has_voice else SPEECH_GRAPHS
    plan = {} if recipe is None else recipe.plan(list(layers.values()), absent)
    found = {}
    for graph, parameters in parameters_of(dims, held).items():
        own = [layers[graph, one.name] for one in parameters if one.is_layer]
        rest = [one.bytes for one in parameters if not one.is_layer]
        found[graph] = _graph(own, plan, rest, int8_blocks)
    return Held(held, found)


def _graph(
    layers: list[Layer], plan: Mapping[Layer, Scheme], rest: list[int], int8_blocks: bool
) -> Weights:
    stored: dict[Stored, int] = defaultdict(int, {"float": sum(rest)})
    multiplied: dict[Multiplied, int] = defaultdict(int)
    largest = max(rest)
    for layer in layers:
        kind, size = _stored(layer, plan.get(layer), int8_blocks)
        stored[kind] += size
        multiplied[_multiplied(layer, plan.get(layer), kind)] += layer.parameters
        largest = max(largest, size)
    return Weights(dict(stored), dict(multiplied), largest)


def _stored(layer: Layer, scheme: Scheme | None, int8_blocks: bool) -> tuple[Stored, int]:
    if scheme is None:
        return "float", layer.float_bytes
    weights = scheme.weights
    in_blocks = weights.dtype == "int8" and weights.block is not None
    if in_blocks and not int8_blocks:
        return "float", layer.float_bytes
    size = weights.bytes_of(layer.inputs, layer.outputs, layer.itemsize)
    return ("int4" if weights.dtype == "int4" else "int8"), size


def _multiplied(layer: Layer, scheme: Scheme | None, stored: Stored) -> Multiplied:
    if scheme is not None and stored != "float":
        return "narrow" if scheme.activations is None else scheme.activations.dtype
    return "single" if layer.half is None else "half"


def table_bytes(dims: ModelDims, precision: Precision) -> dict[str, int]:
    """Returns the bytes of the tables that the runtime maps: embeddings, and those of the DiT."""
    width = NUMPY_DTYPES[precision].itemsize
    tables = {"thinker embedding": dims.thinker.vocab * dims.thinker.embed_width * width}
    if dims.speech is not None:
        talker, dit = dims.speech.talker, dims.speech.dit
        tables |= {
            "talker embedding": talker.vocab * talker.embed_width * width,
            "dit codes": dit.codec_rows * dit.hidden * 4,
        }
    return tables
