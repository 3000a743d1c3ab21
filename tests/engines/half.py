"""A graph in f16 as one in bf16, which no bundle holds: ONNX Runtime's CPU has few kernels for it.

It shows that TensorRT takes it where it takes f16."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
from onnx import numpy_helper

F16, BF16 = onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16


def to_bf16(path: Path) -> None:
    """In place: every number, type and cast."""
    model = onnx.load(path)
    for tensor in _tensors(model.graph):
        if tensor.data_type == F16:
            values = numpy_helper.to_array(tensor).astype(ml_dtypes.bfloat16)
            tensor.data_type = BF16
            tensor.ClearField("int32_data")
            tensor.raw_data = values.view(np.uint16).tobytes()
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        if value.type.tensor_type.elem_type == F16:
            value.type.tensor_type.elem_type = BF16
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == F16:
                attribute.i = BF16
    onnx.save(model, path)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        yield from (a.t for a in node.attribute if a.type == onnx.AttributeProto.TENSOR)
