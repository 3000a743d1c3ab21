"""RMSNormalization in older operators."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from omnijet.engines.lowering.chain import Chain
from omnijet.engines.lowering.constants import Constants


class DecomposedNorm(ir.passes.InPlacePass):
    """Promise: an RMSNormalization over the last axis becomes squares, mean and root in f32."""

    def __init__(self, constants: Constants) -> None:
        self._constants = constants

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [node for node in model.graph if node.op_type == "RMSNormalization"]
        for node in found:
            x, weight = node.inputs
            assert x is not None and x.dtype == ir.DataType.FLOAT, node.name
            assert node.attributes["axis"].as_int() == -1, node.name
            epsilon = np.array(node.attributes["epsilon"].as_float(), np.float32)
            new = Chain(model.graph, node, self._constants)
            mean = new.op("ReduceMean", new.op("Mul", x, x), new.ints("axes", -1), keepdims=1)
            root = new.op("Sqrt", new.op("Add", mean, new.constant("epsilon", epsilon)))
            new.end(new.op("Mul", new.op("Div", x, root), weight))
        return ir.passes.PassResult(model, modified=bool(found))
