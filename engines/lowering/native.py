"""The canonical graph as TensorRT's parser and builder take it (TensorRT-RTX 1.7).

Nothing here is about quantization: QuantizeLinear and DequantizeLinear are what TensorRT reads.
It has no unsigned integers of 4 bits and no zero points, and FP8 from SM89 on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from engines.lowering.chain import Chain, described, producer
from engines.lowering.constants import Constants
from engines.lowering.frame import Lowering
from export.passes import const_ints
from runtime.contract import GraphContract

UNSEEN = np.array(-1e9, np.float32)
"""A score whose share of a softmax is zero."""


def _passes(constants: Constants, contract: GraphContract) -> Sequence[ir.passes.InPlacePass]:
    return ConstantAxes(constants), JoinedBlocks(constants), PlainAttention(constants)


lower = Lowering(_passes)


class ConstantAxes(ir.passes.InPlacePass):
    """Promise: the axes of a mean are a constant, not a reshaped one."""

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


class JoinedBlocks(ir.passes.InPlacePass):
    """Promise: a Scan over blocks of queries (`export.passes.ScanBlocks`) is one Attention.

    TensorRT takes no attention inside a loop, and its kernels keep no scores in memory, which
    is what the loop is for.
    """

    def __init__(self, constants: Constants) -> None:
        self._constants = constants

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [node for node in model.graph if node.op_type == "Scan"]
        for node in found:
            inner = [n for n in node.attributes["body"].as_graph() if n.op_type == "Attention"]
            assert len(inner) == 1, node.name
            (q,), (_, k, v) = node.inputs, inner[0].inputs
            assert q is not None and q.shape is not None
            _, heads, rows, width = q.shape
            new = Chain(model.graph, node, self._constants)
            swapped = new.op("Transpose", q, perm=[1, 0, 2, 3])
            joined = new.op("Reshape", swapped, new.ints("join", 1, heads, -1, width))
            described(joined, q.dtype, (1, heads, None, width))
            seen = new.op("Attention", joined, k, v)
            blocks = new.op("Reshape", seen, new.ints("split", heads, -1, rows, width))
            new.end(new.op("Transpose", blocks, perm=[1, 0, 2, 3]))
        return ir.passes.PassResult(model, modified=bool(found))


class PlainAttention(ir.passes.InPlacePass):
    """Promise: an Attention in f32, for which TensorRT has no kernel, is products and a softmax.

    Where queries share keys (a decoder in f32) it stays: export that as f16.
    """

    def __init__(self, constants: Constants) -> None:
        self._constants = constants

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [node for node in model.graph if self._is_plain(node)]
        for node in found:
            q, k, v, *mask = node.inputs
            assert q is not None and q.shape is not None and isinstance(q.shape[-1], int)
            new = Chain(model.graph, node, self._constants)
            scale = new.constant("scale", np.array(q.shape[-1] ** -0.5, np.float32))
            scores = new.op(
                "MatMul", new.op("Mul", q, scale), new.op("Transpose", k, perm=[0, 1, 3, 2])
            )
            if mask:
                scores = new.op("Where", mask[0], scores, new.constant("unseen", UNSEEN))
            new.end(new.op("MatMul", new.op("Softmax", scores, axis=-1), v))
        return ir.passes.PassResult(model, modified=bool(found))

    @staticmethod
    def _is_plain(node: ir.Node) -> bool:
        if node.op_type != "Attention" or len(node.inputs) > 4:
            return False
        q, k = node.inputs[:2]
        assert q is not None and q.shape is not None and k is not None and k.shape is not None
        return q.dtype == ir.DataType.FLOAT and q.shape[1] == k.shape[1]
