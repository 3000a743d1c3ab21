"""The bytes that each graph of a model takes under a recipe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from omnijet.quantization.layers import Layer
from omnijet.quantization.recipes import Form, Recipe
from omnijet.quantization.schemes import Scheme
from omnijet.quantization.sizes.layers import layers_of_dims
from omnijet.quantization.sizes.parameters import Parameter, parameters_of
from omnijet.runtime.bundle.contract import SPEECH_GRAPHS, Precision
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.bundle.pages import paged

F32_BYTES = 4


@dataclass(slots=True)
class GraphBytes:
    """What a graph takes: exact, but for factors that only a calibration knows.

    Attributes:
        weights: rounded weights of the layers that the recipe changes.
        scales: their scales and zero points.
        floats: all other parameters.
        factors: at most so many for what activations are divided by (AWQ, SmoothQuant). A divisor
            that a norm takes up adds nothing, and one that gains nothing is left out.
        file: bytes of the weight file without factors. Each tensor begins a page, and small ones
            lie in the graph file.
        most_file: bytes of the weight file with all factors.
    """

    weights: int = 0
    scales: int = 0
    floats: int = 0
    factors: int = 0
    file: int = 0
    most_file: int = 0

    @property
    def total(self) -> int:
        """Bytes of all values, without factors: what an engine holds at least."""
        return self.weights + self.scales + self.floats


@dataclass(frozen=True, slots=True)
class _Tensors:
    """The bytes of each tensor that becomes of a layer."""

    weights: int
    scales: list[int] = field(default_factory=list)
    factors: list[int] = field(default_factory=list)


def bytes_of_dims(
    dims: ModelDims, precision: Precision, recipe: Recipe | None = None, *, int8_blocks: bool = True
) -> dict[str, GraphBytes]:
    """Returns the bytes of each graph; of floats without a recipe.

    Args:
        precision: that of the bundle. A built graph for a CPU is that of "f32".
        int8_blocks: whether INT8 weights in blocks stay so (`Toolkit.has_int8_blocks`); false: the
            bytes of an engine of TensorRT.

    Raises:
        OmnijetError: a rule of the recipe matches no layer.
    """
    parameters = parameters_of(dims, precision)
    plan = {}
    if recipe is not None:
        absent = [name for name in SPEECH_GRAPHS if name not in parameters]
        chosen = recipe.plan(layers_of_dims(dims, precision), absent)
        plan = {(layer.graph, layer.name): (layer, scheme) for layer, scheme in chosen.items()}
    form = "standard" if recipe is None else recipe.form
    found = {}
    for graph, those in parameters.items():
        made = found[graph] = GraphBytes()
        for one in those:
            _count(made, one, plan.get((graph, one.name)), form, int8_blocks)
        made.most_file += made.file
    return found


def _count(
    made: GraphBytes, one: Parameter, changed: tuple[Layer, Scheme] | None, form: Form,
    int8_blocks: bool,
) -> None:  # fmt: skip
    if changed is None:
        made.floats += one.bytes
        made.file += paged(one.bytes)
        return
    tensors = _tensors(*changed, form, int8_blocks)
    made.weights += tensors.weights
    made.scales += sum(tensors.scales)
    made.factors += sum(tensors.factors)
    made.file += paged(tensors.weights) + sum(map(paged, tensors.scales))
    made.most_file += sum(map(paged, tensors.factors))


def _tensors(layer: Layer, scheme: Scheme, form: Form, int8_blocks: bool) -> _Tensors:
    weights, rounded = scheme.weights, scheme.activations
    moved = weights.scaling or (rounded is not None and rounded.migration is not None)
    # a product in 16 bits is divided before its cast, in f32
    factors = [layer.inputs * F32_BYTES] if moved else []
    is_dense = weights.dtype == "int8" and weights.block is not None and weights.symmetric
    if is_dense and not int8_blocks:
        return _Tensors(layer.float_bytes, [], factors)
    return _Tensors(
        _rounded_up(layer.parameters * weights.bits),
        list(_scales(layer, scheme, form)),
        factors,
    )


def _scales(layer: Layer, scheme: Scheme, form: Form) -> Iterator[int]:
    """Yields the bytes of scales and of zero points."""
    weights = scheme.weights
    if weights.block is None:
        # ONNX Runtime's product of integers returns f32 (`omnijet.engines.lowering.cpu`)
        wide = form == "cpu" and weights.dtype == "int8" and scheme.activations is not None
        yield layer.outputs * (F32_BYTES if wide else layer.itemsize)
        return
    blocks = layer.inputs // weights.block
    yield layer.outputs * blocks * layer.itemsize
    if not weights.symmetric:
        rows, width = (layer.outputs, blocks) if form == "cpu" else (1, layer.outputs * blocks)
        yield rows * _rounded_up(width * weights.bits)


def _rounded_up(bits: int) -> int:
    return -(-bits // 8)
