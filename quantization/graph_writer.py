"""Writes a graph with quantized layers in standard operators, one layer at a time.

A weight becomes DequantizeLinear(integers), and an activation of 8 bits passes through
QuantizeLinear and DequantizeLinear (ONNX opset 24). ONNX Runtime, TensorRT and TensorRT-RTX
recognise these as products in low precision. The boundary stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx_ir as ir

from omnijet.engines.lowering.constants import Constants
from omnijet.engines.lowering.frame import Lowering
from omnijet.export.graphfile.loading import load_graph
from omnijet.export.graphfile.saved_graph import save_graph
from omnijet.export.graphfile.weight_pages import WeightPages
from omnijet.quantization.graph_layers import HALVES, layers_of
from omnijet.quantization.layers import Layer
from omnijet.quantization.weight_source import WeightSource
from omnijet.quantization.weights import ActivationGrid, Change, QuantizedWeight
from omnijet.runtime.bundle.contract import Array, GraphContract
from omnijet.runtime.bundle.manifest import FileEntry, GraphEntry, hash_file
from omnijet.runtime.errors import OmnijetError

NORMS = ("RMSNormalization", "LayerNormalization")
QUANTIZED = {"int8": np.dtype(np.int8), "fp8": np.dtype(ml_dtypes.float8_e4m3fn)}
SMALLEST_F16 = 2.0**-24


@dataclass(frozen=True, slots=True)
class _Changed:
    """A product with a new weight; `finish` changes its activation.

    Attributes:
        product: name of its result, which stays whatever a lowering makes of the node.
    """

    product: str
    divisor: Array | None
    activation: ActivationGrid | None


@dataclass(frozen=True, slots=True)
class _Product:
    """The node that a changed product is now."""

    node: ir.Node
    change: _Changed

    @property
    def divisor(self) -> Array | None:
        return self.change.divisor

    @property
    def activation(self) -> ActivationGrid | None:
        return self.change.activation


class GraphWriter:
    """Turns a bundle's graph file into a new one. Holds one layer's weight at a time.

    Args:
        source: the graph file; its weight file is beside it.
        target: folder of the new graph and its weight file, not the source's folder.
        lowering: brings each layer into another form before it is written, so that no weight is
            written twice; None: standard operators.

    Attributes:
        layers: the layers that can be changed, in the order of the graph.
        files: size and hash of both files by their names, from `finish` on.
    """

    def __init__(
        self, source: Path, contract: GraphContract, target: Path, lowering: Lowering | None = None
    ) -> None:
        self._contract = contract
        self._lowering = lowering
        self.files: dict[str, FileEntry] = {}
        self._target = target
        self._model = load_graph(source)
        self.layers = layers_of(self._model, contract.name)
        self._parameters = sum(
            value.const_value.size
            for value in self._model.graph.initializers.values()
            if value.const_value is not None
        )
        self._changed: list[_Changed] = []
        self._written: set[str] = set()
        self._in_memory: list[str] = []
        target.mkdir(parents=True, exist_ok=True)
        self._pages = WeightPages(target, f"{contract.name}.weights", is_hashed=True)
        self._passes = () if lowering is None else tuple(
            lowering.passes(Constants(self._model.graph, self._pages), contract)
        )  # fmt: skip

    def source(self, layer: Layer) -> WeightSource:
        """Returns where the weight lies."""
        tensor = self._weight(layer).const_value
        assert tensor is not None
        size = (layer.inputs, layer.outputs)
        dtype = layer.half or "f32"
        if isinstance(tensor, ir.ExternalTensor):
            return WeightSource(os.fspath(tensor.path), tensor.offset or 0, dtype, *size)
        return WeightSource("", 0, dtype, *size, values=tensor.numpy())

    def read(self, layer: Layer) -> Array:
        """Returns the weight, f32[inputs, outputs]."""
        return self.source(layer).read()

    def change(self, layer: Layer, change: Change) -> None:
        """Writes the new weight and replaces the old one by it.

        Raises:
            OmnijetError: a scale does not fit the activation's dtype.
        """
        old = self._weight(layer)
        ((node, _),) = old.uses()
        weight = change.weight
        dtype = _float_dtype(node.inputs[0])
        attributes: dict[str, int] = {"axis": 1}
        if weight.block is not None:
            attributes = {"axis": 0, "block_size": weight.block}
        assert weight.values.shape == (layer.inputs, layer.outputs), layer
        scales = _fitting(weight.scales, dtype, layer)
        stored, zeros = _stored(weight), weight.zeros
        # what a lowering replaces is not written
        keep = self._held if self._passes else self._initializer
        add = self._initializer if weight.block is None else keep
        new = ir.node(
            "DequantizeLinear",
            [
                add(layer.name, weight.values, stored),
                keep(f"{layer.name}.scale", scales, None),
                *([] if zeros is None else [add(f"{layer.name}.zero", zeros, stored)]),
            ],
            attributes,
            name=f"{layer.name}.dequantize",
        )
        _describe(new, f"{layer.name}.dequantized", dtype, old.shape)
        self._model.graph.insert_before(node, new)
        node.replace_input_with(1, new.outputs[0])
        product = str(node.outputs[0].name)
        self._changed.append(_Changed(product, change.divisor, change.activation))
        self._lower()

    def finish(self, progress: Callable[[int], None]) -> GraphEntry:
        """Writes the rest, checks the file and returns its entry for the manifest.

        Args:
            progress: receives the bytes copied.

        Raises:
            ContractError: the boundary differs.
        """
        makers = {node.outputs[0].name: node for node in self._model.graph}
        products = [_Product(makers[one.product], one) for one in self._changed]
        for value, those in _by_activation(products):
            self._rewrite_activation(value, those)
        self._lower()
        self._write_held()
        for value in self._model.graph.initializers.values():
            tensor = value.const_value
            if tensor is not None and not self._pages.holds(tensor):
                value.const_value = self._pages.copy(tensor)
                progress(int(tensor.nbytes))
        self._pages.close()
        domains = () if self._lowering is None else self._lowering.domains
        entry = save_graph(self._model, self._contract, self._target, self._parameters, domains)
        self.files = {entry.weights: self._pages.entry,
                      entry.file: hash_file(self._target / Path(entry.file).name)}  # fmt: skip
        return entry

    def close(self) -> None:
        """Closes the weight file."""
        self._pages.close()

    def _lower(self) -> None:
        """Lowers what was changed; what has to wait for `finish` is left as it is."""
        for one in self._passes:
            one(self._model)

    def _write_held(self) -> None:
        """Writes what no lowering replaced."""
        for name in self._in_memory:
            value = self._model.graph.initializers.get(name)
            if value is not None and isinstance(value.const_value, ir.Tensor):
                tensor = value.const_value
                value.const_value = self._pages.add(name, tensor.numpy(), tensor.dtype)

    def _held(self, name: str, values: Array, dtype: ir.DataType | None) -> ir.Value:
        """Registers an initializer that exists until it is lowered."""
        self._model.graph.initializers.pop(name, None)
        if dtype is not None:
            values = values.view(dtype.numpy())
        tensor = ir.tensor(values, dtype=dtype, name=name)
        value = ir.Value(name=name, shape=ir.Shape(values.shape),
                         type=ir.TensorType(tensor.dtype), const_value=tensor)  # fmt: skip
        self._model.graph.register_initializer(value)
        self._in_memory.append(name)
        return value

    def _weight(self, layer: Layer) -> ir.Value:
        assert layer.name not in self._written, f"{layer.name} is changed already"
        return self._model.graph.initializers[layer.name]

    def _initializer(self, name: str, values: Array, dtype: ir.DataType | None = None) -> ir.Value:
        """Registers a new initializer; replaces one of the same name."""
        graph = self._model.graph
        graph.initializers.pop(name, None)
        tensor = self._pages.add(name, values, dtype)
        value = ir.Value(
            name=name,
            shape=ir.Shape(values.shape),
            type=ir.TensorType(tensor.dtype),
            const_value=tensor,
        )
        graph.register_initializer(value)
        self._written.add(name)
        return value

    def _rewrite_activation(self, value: ir.Value, products: Sequence[_Product]) -> None:
        """Adds one division for all products with the same divisor, and one pair of QuantizeLinear
        and DequantizeLinear for all with the same scale.
        """
        for index, same in enumerate(_grouped(products, _divisor_key)):
            divided = value
            if (divisor := same[0].divisor) is not None:
                readers = [product.node for product in same]
                divided = self._divide(value, divisor, readers, f"{value.name}.divided.{index}")
            for place, pair in enumerate(_grouped(same, _activation_key)):
                quantized = divided
                if (grid := pair[0].activation) is not None:
                    name = f"{value.name}.{index}.{place}"
                    quantized = self._quantize(divided, grid, name)
                for product in pair:
                    product.node.replace_input_with(0, quantized)

    def _divide(
        self, value: ir.Value, divisor: Array, readers: Sequence[ir.Node], name: str
    ) -> ir.Value:
        """Returns value / divisor for these readers.

        If nothing else reads the value, the division goes into the norm that makes it, or before
        a cast to 16 bits; else it becomes a product of its own.
        """
        node = value.producer()
        if node is not None and not _has_other_readers(value, readers):
            if node.op_type == "Cast":
                wide = node.inputs[0]
                assert wide is not None
                node.replace_input_with(0, self._divide(wide, divisor, [node], name))
                return value
            if node.op_type in NORMS and self._fold(node, divisor):
                return value
        dtype = _float_dtype(value)
        factors = _checked(1 / divisor, dtype, name)
        if not factors.all():  # a feature would become zero
            raise _unfit(1 / divisor, dtype, name)
        factor = self._initializer(f"{name}.factor", factors)
        new = ir.node("Mul", [value, factor], name=name)
        _describe(new, f"{name}.value", dtype, value.shape)
        self._insert(new, value)
        return new.outputs[0]

    def _fold(self, norm: ir.Node, divisor: Array) -> bool:
        """Divides the norm's weight and bias if no other node uses them; returns whether it did."""
        vectors = [value for value in norm.inputs[1:] if value is not None]
        if any(value.const_value is None or len(value.uses()) != 1 for value in vectors):
            return False
        for index, value in enumerate(norm.inputs):
            if index == 0 or value is None:
                continue
            tensor, name = value.const_value, str(value.name)
            assert tensor is not None
            vector = tensor.numpy().astype(np.float32) / divisor
            new = self._initializer(name, _checked(vector, tensor.dtype.numpy(), name))
            norm.replace_input_with(index, new)
        return True

    def _quantize(self, value: ir.Value, grid: ActivationGrid, name: str) -> ir.Value:
        dtype, quantized = _float_dtype(value), QUANTIZED[grid.dtype]
        step = np.array(grid.scale, np.float32)
        scale = self._initializer(f"{name}.scale", _checked(step, dtype, name))
        zero = self._initializer(f"{name}.zero", np.zeros((), quantized))
        quantize = ir.node("QuantizeLinear", [value, scale, zero], name=f"{name}.quantize")
        _describe(quantize, f"{name}.quantized", quantized, value.shape)
        dequantize = ir.node(
            "DequantizeLinear", [quantize.outputs[0], scale, zero], name=f"{name}.dequantize"
        )
        _describe(dequantize, f"{name}.dequantized", dtype, value.shape)
        self._insert(quantize, value)
        self._model.graph.insert_after(quantize, dequantize)
        return dequantize.outputs[0]

    def _insert(self, new: ir.Node, value: ir.Value) -> None:
        """Inserts a node right behind the value's producer, before all readers."""
        if (producer := value.producer()) is not None:
            self._model.graph.insert_after(producer, new)
        else:
            self._model.graph.insert_before(self._model.graph[0], new)


def _by_activation(changed: Iterable[_Product]) -> list[tuple[ir.Value, list[_Product]]]:
    found: dict[ir.Value, list[_Product]] = {}
    for product in changed:
        value = product.node.inputs[0]
        assert value is not None
        found.setdefault(value, []).append(product)
    return list(found.items())


def _grouped(
    products: Sequence[_Product], key: Callable[[_Product], object]
) -> list[list[_Product]]:
    found: dict[object, list[_Product]] = {}
    for product in products:
        found.setdefault(key(product), []).append(product)
    return list(found.values())


def _divisor_key(product: _Product) -> object:
    return None if product.divisor is None else product.divisor.tobytes()


def _activation_key(product: _Product) -> object:
    return product.activation


def _has_other_readers(value: ir.Value, readers: Sequence[ir.Node]) -> bool:
    return value.is_graph_output() or any(node not in readers for node in value.consumers())


def _stored(weight: QuantizedWeight) -> ir.DataType | None:
    """Returns the ONNX type of the values if numpy's dtype does not determine it, else None."""
    if weight.dtype != "int4":
        return None
    return ir.DataType.INT4 if weight.zeros is None else ir.DataType.UINT4


def _float_dtype(value: ir.Value | None) -> np.dtype[np.generic]:
    assert value is not None and value.dtype in (ir.DataType.FLOAT, *HALVES), value
    return value.dtype.numpy()


def _describe(
    node: ir.Node, name: str, dtype: np.dtype[np.generic], shape: ir.Shape | None
) -> None:
    value = node.outputs[0]
    value.name, value.shape = name, shape
    value.type = ir.TensorType(ir.DataType.from_numpy(dtype))


def _fitting(scales: Array, dtype: np.dtype[np.generic], layer: Layer) -> Array:
    """Returns the scales in the graph's dtype.

    A scale that f16 would round to zero becomes f16's smallest number: its weights are at most
    448 times 3e-8.
    """
    if dtype == np.float16:
        scales = np.maximum(scales, SMALLEST_F16)
    return _checked(scales, dtype, layer.name)


def _checked(values: Array, dtype: np.dtype[np.generic], where: str) -> Array:
    with np.errstate(over="ignore", divide="ignore"):
        result: Array = np.asarray(values).astype(dtype)
    if not np.isfinite(result).all() or (values.ndim == 0 and not result > 0):
        raise _unfit(values, dtype, where)
    return result


def _unfit(values: Array, dtype: np.dtype[np.generic], where: str) -> OmnijetError:
    return OmnijetError(
        f"a scale does not fit {dtype}",
        where=where,
        expected="finite scales, that of an activation above zero",
        got=f"{np.min(values):g} to {np.max(values):g}",
        fix="leave this layer as it is, or quantize a bundle exported with --dtype f32",
    )
