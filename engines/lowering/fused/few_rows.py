"""Attention of a decode step, where few rows read a long cache.

ONNX Runtime's Attention multiplies the queries of each head with the keys alone. The query heads
that share a KV head are rows of one product here, so that keys and values pass through memory once
(`python -m tools.bench.attention`). The mask becomes numbers once for all layers, because a sum
takes less time than a choice. Prefill keeps Attention, which is faster for many rows.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from omnijet.engines.lowering.attention import UNSEEN, is_plain
from omnijet.engines.lowering.chain import Chain, described
from omnijet.engines.lowering.constants import Constants
from omnijet.engines.lowering.cpu import DOMAIN
from omnijet.engines.lowering.fused.branch import Branch


class FewRows(ir.passes.InPlacePass):
    """Promise: an Attention over a cache that its graph writes becomes an If: for few rows grouped
    products, else the Attention.

    Args:
        most: rows of a call that are still few: one token, or guesses that are checked.
    """

    def __init__(self, constants: Constants, most: int) -> None:
        self._most = most
        self._constants = constants
        self._are_few: ir.Value | None = None
        self._penalties: dict[ir.Value, ir.Value] = {}

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [node for node in model.graph if _reads_cache(node)]
        for node in found:
            new = Chain(model.graph, node, self._constants)
            if self._are_few is None:
                self._are_few = self._condition(new, node)
            mask = node.inputs[3]
            assert mask is not None
            if mask not in self._penalties:
                self._penalties[mask] = self._penalty(new, mask)
            few, many = _grouped(node, self._penalties[mask]), _as_it_is(node)
            new.end(new.op("If", self._are_few, then_branch=few, else_branch=many))
        if found:
            model.opset_imports[DOMAIN] = 1
        return ir.passes.PassResult(model, modified=bool(found))

    def _condition(self, new: Chain, node: ir.Node) -> ir.Value:
        """Returns whether the call has few rows: a Boolean scalar."""
        mask = node.inputs[3]
        rows = new.op("Squeeze", new.op("Shape", mask, start=2, end=3), new.ints("first", 0))
        return new.op("Less", rows, new.constant("most", np.array(self._most + 1, np.int64)))

    def _penalty(self, new: Chain, mask: ir.Value) -> ir.Value:
        """Returns what is added to scores, in the mask's shape; for many rows a single zero."""
        few = Branch(f"{mask.name}.penalty")
        zero = few.tensor(np.array(0, np.float32))
        added = few.op("Where", mask, zero, few.tensor(UNSEEN))
        many = Branch(f"{mask.name}.no_penalty")
        like = described(ir.Value(), None, mask.shape or ())
        none = many.tensor(np.zeros((1, 1, 1, 1), np.float32))
        penalty = new.op("If", self._are_few, then_branch=few.end(added, like),
                         else_branch=many.end(none, like))  # fmt: skip
        return described(penalty, None, mask.shape or ())


def _reads_cache(node: ir.Node) -> bool:
    """Returns whether it is an Attention with a mask over what a TensorScatter writes."""
    if node.op_type != "Attention" or len(node.inputs) < 4 or not is_plain(node):
        return False
    makers = [value.producer() if value is not None else None for value in node.inputs[1:3]]
    return all(maker is not None and maker.op_type == "TensorScatter" for maker in makers)


def _grouped(node: ir.Node, penalty: ir.Value) -> ir.Graph:
    """Returns two products with a softmax between them, for query heads as rows."""
    q, k, v = node.inputs[:3]
    assert q is not None and k is not None and q.shape is not None and k.shape is not None
    (_, heads, _, width), kv_heads = q.shape, k.shape[1]
    assert isinstance(heads, int) and isinstance(kv_heads, int) and isinstance(width, int)
    new = Branch(f"{node.name}.few")
    queries = new.op("Reshape", q, new.shape(1, kv_heads, -1, width))
    scale = float(width**-0.5)
    scores = new.op("FusedMatMul", queries, k, domain=DOMAIN, transB=1, alpha=scale)
    scores = new.op("Reshape", scores, new.shape(0, heads, -1, 0))
    shares = new.op("Softmax", new.op("Add", scores, penalty), axis=-1)
    shares = new.op("Reshape", shares, new.shape(0, kv_heads, -1, 0))
    seen = new.op("Reshape", new.op("MatMul", shares, v), new.shape(1, heads, -1, width))
    return new.end(seen, node.outputs[0])


def _as_it_is(node: ir.Node) -> ir.Graph:
    new = Branch(f"{node.name}.many")
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    return new.end(new.op("Attention", *node.inputs, **attributes), node.outputs[0])
