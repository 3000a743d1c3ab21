"""Values of the Constant nodes of a graph."""

from __future__ import annotations

import onnx_ir as ir


def const_ints(value: ir.Value | None) -> list[int] | None:
    """Returns the integers of a constant value, or None if the value is no constant."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "Constant":
        return None
    for name in ("value_int", "value_ints", "value"):
        if (attribute := node.attributes.get(name)) is not None:
            if name == "value_int":
                return [attribute.as_int()]
            if name == "value_ints":
                return list(attribute.as_ints())
            array = attribute.as_tensor().numpy()
            return [int(item) for item in array.reshape(-1)]
    return None
