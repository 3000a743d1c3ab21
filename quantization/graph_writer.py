"""Writes a graph with quantized layers in standard operators, one layer at a time.

A weight becomes DequantizeLinear(integers), and an activation of 8 bits passes through
QuantizeLinear and DequantizeLinear (ONNX opset 24). ONNX Runtime, TensorRT and TensorRT-RTX
recognise these as products in low precision. The boundary stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx_ir as ir

from omnijet.export.graphfile.saved_graph import save_graph
from omnijet.export.graphfile.weight_pages import WeightPages
from omnijet.quantization.layers import HALVES, Layer, layers_of
from omnijet.quantization.weights import ActivationGrid, Change, QuantizedWeight
from omnijet.runtime.bundle.contract import Array, GraphContract
from omnijet.runtime.bundle.manifest import GraphEntry
from omnijet.runtime.errors import OmnijetError

NORMS = ("RMSNormalization", "LayerNormalization")
QUANTIZED = {"int8": np.dtype(np.int8), "fp8": np.dtype(ml_dtypes.float8_e4m3fn)}
SMALLEST_F16 = 2.0**-24


@dataclass(frozen=True, slots=True)
class _Changed:
    """A product with a new weight; `finish` changes its activation."""

    node: ir.Node
    divisor: Array | None
    activation: ActivationGrid | None


class GraphWriter:
    """Turns a bundle's graph file into a new one. Holds one layer's weight at a time.

    Args:
        source: the graph file; its weight file is beside it.
        target: folder of the new graph and its weight file, not the source's folder.

    Attributes:
        layers: the layers that can be changed, in the order of the graph.
    """

    def __init__(self, source: Path, contract: GraphContract, target: Path) -> None:
        self._contract = contract
        self._target = target
        self._model = ir.load(source)
        self.layers = layers_of(self._model, contract.name)
        self._parameters = sum(
            value.const_value.size
            for value in self._model.graph.initializers.values()
            if value.const_value is not None
        )
        self._changed: list[_Changed] = []
        self._written: set[str] = set()
        self._bytes = 0
        target.mkdir(parents=True, exist_ok=True)
        self._pages = WeightPages(target, f"{contract.name}.weights")

    def read(self, layer: Layer) -> Array:
        """Returns the weight, f32[inputs, outputs]."""
        tensor = self._weight(layer).const_value
        assert tensor is not None
        values: Array = tensor.numpy().astype(np.float32)  # a copy: the file is unmapped below
        if isinstance(tensor, ir.ExternalTensor):
            tensor.release()
        return values

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
        new = ir.node(
            "DequantizeLinear",
            [
                self._initializer(layer.name, weight.values, _stored(weight)),
                self._initializer(f"{layer.name}.scale", _fitting(weight.scales, dtype, layer)),
                *self._zero_points(layer, weight),
            ],
            attributes,
            name=f"{layer.name}.dequantize",
        )
        _describe(new, f"{layer.name}.dequantized", dtype, old.shape)
        self._model.graph.insert_before(node, new)
        node.replace_input_with(1, new.outputs[0])
        self._changed.append(_Changed(node, change.divisor, change.activation))

    def finish(self, progress: Callable[[int], None]) -> GraphEntry:
        """Writes the rest, checks the file and returns its entry for the manifest.

        Args:
            progress: receives the bytes copied.

        Raises:
            ContractError: the boundary differs.
        """
        for value, products in _by_activation(self._changed):
            self._rewrite_activation(value, products)
        for name, value in self._model.graph.initializers.items():
            if name not in self._written and value.const_value is not None:
                value.const_value = self._pages.copy(value.const_value)
                progress(int(value.const_value.nbytes))
        self._pages.close()
        return save_graph(self._model, self._contract, self._target, self._parameters)

    def _weight(self, layer: Layer) -> ir.Value:
        assert layer.name not in self._written, f"{layer.name} is changed already"
        return self._model.graph.initializers[layer.name]

    def _zero_points(self, layer: Layer, weight: QuantizedWeight) -> list[ir.Value]:
        """Returns the zero points as inputs; ONNX takes an omitted input as zero."""
        if weight.zeros is None:
            return []
        return [self._initializer(f"{layer.name}.zero", weight.zeros, _stored(weight))]

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

    def _rewrite_activation(self, value: ir.Value, products: Sequence[_Changed]) -> None:
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


def _by_activation(changed: Iterable[_Changed]) -> list[tuple[ir.Value, list[_Changed]]]:
    found: dict[ir.Value, list[_Changed]] = {}
    for product in changed:
        value = product.node.inputs[0]
        assert value is not None
        found.setdefault(value, []).append(product)
    return list(found.items())


def _grouped(
    products: Sequence[_Changed], key: Callable[[_Changed], object]
) -> list[list[_Changed]]:
    found: dict[object, list[_Changed]] = {}
    for product in products:
        found.setdefault(key(product), []).append(product)
    return list(found.values())


def _divisor_key(product: _Changed) -> object:
    return None if product.divisor is None else product.divisor.tobytes()


def _activation_key(product: _Changed) -> object:
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
