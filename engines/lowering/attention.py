"""Attention in older operators.

TensorRT fuses attention into kernels that store no scores if the scale is multiplied into the
queries before the first product ("Fused Attention" in its documentation, method 2). Otherwise the
scores are stored: [heads, rows, keys].
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx_ir as ir

from omnijet.engines.lowering.chain import Chain
from omnijet.engines.lowering.constants import Constants
from omnijet.runtime.bundle.contract import Array

UNSEEN = np.array(-1e9, np.float32)
"""A score whose softmax is zero."""


class DecomposedAttention(ir.passes.InPlacePass):
    """Promise: an Attention of these dtypes becomes two products with a softmax between them.

    Queries that share keys become rows of one product, so keys and values are read once instead
    of repeated. A masked softmax is in f32. An unmasked one stays in the graph's precision, which
    is the plainest form and the most likely to be fused.
    """

    def __init__(self, constants: Constants, dtypes: Collection[ir.DataType]) -> None:
        self._constants = constants
        self._dtypes = dtypes

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [node for node in model.graph if self._is_meant(node)]
        for node in found:
            q, k, v, *mask = node.inputs
            assert len(mask) < 2 and is_plain(node), node.name
            assert q is not None and k is not None and v is not None
            new = Chain(model.graph, node, self._constants)
            new.end(_attended(new, q, k, v, *mask))
        return ir.passes.PassResult(model, modified=bool(found))

    def _is_meant(self, node: ir.Node) -> bool:
        queries = node.inputs[0] if node.op_type == "Attention" else None
        return queries is not None and queries.dtype in self._dtypes


def is_plain(node: ir.Node) -> bool:
    """Returns whether it is neither causal nor capped and has the default scale, as exported."""
    values = [attribute.value for attribute in node.attributes.values()]
    return "scale" not in node.attributes and not any(values)


def _attended(
    new: Chain, q: ir.Value, k: ir.Value, v: ir.Value, mask: ir.Value | None = None
) -> ir.Value:
    """Attends q [batch, heads, rows, head_dim] to k and v [batch, kv_heads, keys, head_dim].

    Returns:
        [batch, heads, rows, head_dim].
    """
    assert q.shape is not None and k.shape is not None and q.dtype is not None
    (_, heads, _, width), kv_heads = q.shape, k.shape[1]
    grouped = heads != kv_heads
    queries = scaled(new, q, width)
    if grouped:
        queries = new.op("Reshape", queries, new.ints("group", 0, kv_heads, -1, width))
    scores = new.op("MatMul", queries, new.op("Transpose", k, perm=[0, 1, 3, 2]))
    if mask is not None:
        if grouped:  # 0 copies the size of the axis
            scores = new.op("Reshape", scores, new.ints("ungroup", 0, heads, -1, 0))
        shares = _masked(new, scores, mask, q.dtype)
        if grouped:
            shares = new.op("Reshape", shares, new.ints("regroup", 0, kv_heads, -1, 0))
    else:
        shares = new.op("Softmax", scores, axis=-1)
    seen = new.op("MatMul", shares, v)
    if grouped:
        seen = new.op("Reshape", seen, new.ints("heads", 0, heads, -1, width))
    return seen


def _masked(new: Chain, scores: ir.Value, mask: ir.Value, dtype: ir.DataType) -> ir.Value:
    half = dtype != ir.DataType.FLOAT
    if half:
        scores = new.op("Cast", scores, to=ir.DataType.FLOAT)
    scores = new.op("Where", mask, scores, new.constant("unseen", UNSEEN))
    shares = new.op("Softmax", scores, axis=-1)
    return new.op("Cast", shares, to=dtype) if half else shares


def scaled(new: Chain, q: ir.Value, width: Any) -> ir.Value:
    """Divides queries by the square root of their width."""
    assert q.dtype is not None and isinstance(width, int)
    scale: Array = np.array(width**-0.5, q.dtype.numpy())
    return new.op("Mul", q, new.constant("scale", scale))
