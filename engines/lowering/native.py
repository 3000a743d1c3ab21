"""The form that TensorRT's parser and builder take (TensorRT-RTX 1.7).

Quantized products stay: TensorRT reads QuantizeLinear and DequantizeLinear. It has no unsigned
integers of 4 bits and no zero points, and FP8 only from SM89 on.

Attention over KV caches keeps its mask. ONNX can say how many rows are filled and ask for causal
order, but the parser (TensorRT-RTX 1.7) drops the number and counts from the first key: such an
engine builds and is wrong (`tests/engines/lowering/test_filled_rows.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from omnijet.engines.lowering.attention import DecomposedAttention
from omnijet.engines.lowering.blocks import FloatBlocks
from omnijet.engines.lowering.chain import producer
from omnijet.engines.lowering.constants import Constants
from omnijet.engines.lowering.frame import Lowering
from omnijet.engines.lowering.query_blocks import JoinedBlocks, LoopedBlocks
from omnijet.export.graphfile.constants import const_ints
from omnijet.runtime.bundle.contract import GraphContract


def _passes(constants: Constants, contract: GraphContract) -> Sequence[ir.passes.InPlacePass]:
    return (
        ConstantAxes(constants),
        LoopedBlocks(constants),
        JoinedBlocks(constants),
        # TensorRT has no fused attention in f32
        DecomposedAttention(constants, {ir.DataType.FLOAT}),
    )


def _dense_passes(constants: Constants, contract: GraphContract) -> Sequence[ir.passes.InPlacePass]:
    return *_passes(constants, contract), FloatBlocks(constants)


lower = Lowering(_passes)
lower_dense = Lowering(_dense_passes)
"""The lowering for a TensorRT that dequantizes no INT8 in blocks (`toolkits.FEATURES`)."""


class ConstantAxes(ir.passes.InPlacePass):
    """Promise: the axes of a mean are a constant instead of a reshaped constant."""

    def __init__(self, constants: Constants) -> None:
        self._constants = constants

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            reshape = producer(node, 1) if node.op_type == "ReduceMean" else None
            axes = None
            if reshape is not None and reshape.op_type == "Reshape":
                axes = const_ints(reshape.inputs[0])
            if axes is not None:
                value = self._constants.add(f"{node.name}.axes", np.array(axes, np.int64))
                node.replace_input_with(1, value)
                modified = True
        return ir.passes.PassResult(model, modified=modified)
