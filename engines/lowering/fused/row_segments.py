"""What the vision encoder computes row by row: segments between its attentions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

ROW_BY_ROW = {
    "Add", "Cast", "DequantizeLinear", "Div", "Gelu", "MatMul", "MatMulIntegerToFloat",
    "MatMulNBits", "Mul", "QuantizeLinear", "QuickGelu", "RMSNormalization", "RotaryEmbedding",
    "Sigmoid", "SkipSimplifiedLayerNormalization", "Split",
}  # fmt: skip
"""Operators that compute each row from the same row of their inputs, and constants."""


@dataclass(slots=True)
class Segment:
    """Nodes between two attentions, in order."""

    nodes: list[ir.Node] = field(default_factory=list)

    def reads(self, rows: Mapping[ir.Value, int]) -> list[ir.Value]:
        """Returns the rows from outside."""
        made = {value for node in self.nodes for value in node.outputs}
        values = (value for node in self.nodes for value in node.inputs)
        return list(dict.fromkeys(v for v in values if v in rows and v not in made))  # type: ignore[misc]

    def makes(self) -> list[ir.Value]:
        """Returns the rows that others read."""
        own = set(self.nodes)
        values = (value for node in self.nodes for value in node.outputs)
        return [value for value in values if any(one not in own for one in value.consumers())]


def segments_of(graph: ir.Graph) -> tuple[list[Segment], dict[ir.Value, int]]:
    """Returns the segments, and the level of each value that has a row for each patch.

    A value of level n depends on n attentions. The nodes of one level are a segment.
    """
    rows: dict[ir.Value, int] = {}
    segments = [Segment()]
    first = True
    for node in graph:
        if node.op_type == "Pad":
            value = node.outputs[0]
            if value.name in ("cos.padded", "sin.padded"):
                rows[value] = 0
        elif node.op_type == "Unsqueeze" and first:
            rows[node.outputs[0]], first = 0, False
        elif node.op_type == "MultiHeadAttention":
            rows[_seen(node)] = len(segments)
            segments.append(Segment())
        elif node.op_type in ROW_BY_ROW and _only_rows(node, rows):
            level = max(rows[value] for value in node.inputs if value in rows)
            rows.update((value, level) for value in node.outputs)
            segments[level].nodes.append(node)
    return [segment for segment in segments if segment.nodes], rows


def _seen(attention: ir.Node) -> ir.Value:
    """Returns what each patch saw, [1, patches, hidden]: windows are put together before."""
    value = attention.outputs[0]
    while (reader := value.consumers()[0]).op_type in ("Reshape", "Gather", "Unsqueeze"):
        value = reader.outputs[0]
    return value


def _only_rows(node: ir.Node, rows: Mapping[ir.Value, int]) -> bool:
    """Returns whether a node reads rows, and constants, and nothing else."""
    inputs = [value for value in node.inputs if value is not None]
    found = [value in rows for value in inputs]
    return any(found) and all(
        is_row or is_constant(value) for value, is_row in zip(inputs, found, strict=True)
    )


def is_constant(value: ir.Value) -> bool:
    """Returns whether it is the same in every call: also a weight that is dequantized."""
    maker = value.producer()
    if maker is None:
        return value.is_initializer()
    stored = (one is None or one.is_initializer() for one in maker.inputs)
    return maker.op_type == "Constant" or (maker.op_type == "DequantizeLinear" and all(stored))
