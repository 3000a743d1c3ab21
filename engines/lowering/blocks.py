"""Turns block weights that TensorRT cannot dequantize into floats."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from omnijet.engines.lowering.constants import Constants
from omnijet.runtime.bundle.contract import Array


class FloatBlocks(ir.passes.InPlacePass):
    """Promise: a weight of INT8 in blocks becomes the floats that it stands for.

    In blocks, TensorRT 10.3 dequantizes only INT4 (`parser_10_3`), and newer versions also FP4 and
    FP8; TensorRT-RTX dequantizes INT8 too. The values stay those of the recipe, the bytes are
    those of a float weight. A weight with zero points stays: TensorRT has no zero points.
    """

    def __init__(self, constants: Constants) -> None:
        self._constants = constants

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [node for node in model.graph if is_int8_block(node)]
        for node in found:
            values, scales = (_values(value) for value in node.inputs)
            block = node.attributes["block_size"].as_int()
            assert node.attributes["axis"].as_int() == 0, node.name
            dense = np.empty(values.shape, scales.dtype)
            for index, scale in enumerate(
                scales
            ):  # one block at a time: a copy in f32 of a 2 GB head would not fit
                rows = slice(index * block, (index + 1) * block)
                dense[rows] = values[rows] * scale.astype(np.float32)
            new = self._constants.add(f"{node.name}.dense", dense)
            ir.convenience.replace_all_uses_with(node.outputs[0], new)
            self._constants.remove(node)
        return ir.passes.PassResult(model, modified=bool(found))


def is_int8_block(node: ir.Node) -> bool:
    """Returns whether the node dequantizes INT8 weights in blocks without zero points."""
    if node.op_type != "DequantizeLinear" or "block_size" not in node.attributes:
        return False
    value = node.inputs[0]
    return len(node.inputs) == 2 and value is not None and value.dtype == ir.DataType.INT8


def _values(value: ir.Value | None) -> Array:
    assert value is not None and value.const_value is not None
    array: Array = value.const_value.numpy()
    return array
