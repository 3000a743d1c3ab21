"""A small graph file like ours, and graph files that no export writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PAGE = 4096
Harm = Callable[[onnx.ModelProto], None]


def small_model() -> onnx.ModelProto:
    """Returns y = x @ a + b, whose weights lie in `small.weights`."""
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["xa"], name="product"),
        helper.make_node("Add", ["xa", "b"], ["y"], name="sum"),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 16]) for name in ("x", "y")
    ]
    weights = [_external("a", (16, 16), 0), _external("b", (16,), PAGE)]
    graph = helper.make_graph(nodes, "small", ends[:1], ends[1:], weights)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 24)])


def write_small(folder: Path, harm: Harm = lambda model: None) -> Path:
    """Writes the graph, harmed, and its weights; returns the graph's path."""
    model = small_model()
    harm(model)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "small.onnx"
    path.write_bytes(model.SerializeToString())
    path.with_suffix(".weights").write_bytes(bytes(2 * PAGE))
    return path


def place(model: onnx.ModelProto, weight: int = 0, **entries: str) -> None:
    """Sets where a weight lies."""
    tensor = model.graph.initializer[weight]
    old = {entry.key: entry.value for entry in tensor.external_data}
    del tensor.external_data[:]
    for key, value in {**old, **entries}.items():
        tensor.external_data.add(key=key, value=value)


def add_node(model: onnx.ModelProto, operator: str, domain: str = "", **attributes: object) -> None:
    node = helper.make_node(operator, ["y"], ["z"], "added", domain=domain, **attributes)
    model.graph.node.append(node)


def body() -> onnx.GraphProto:
    """Returns a graph that could be the body of something."""
    info = helper.make_tensor_value_info("i", TensorProto.FLOAT, [16])
    return helper.make_graph([helper.make_node("Identity", ["i"], ["o"])], "body", [info], [info])


def inline(values: np.ndarray, name: str) -> onnx.TensorProto:  # type: ignore[type-arg]
    return numpy_helper.from_array(values, name)


def _external(name: str, shape: tuple[int, ...], offset: int) -> onnx.TensorProto:
    tensor = onnx.TensorProto(
        name=name, dims=shape, data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL
    )
    length = 4 * int(np.prod(shape))
    for key, value in (("location", "small.weights"), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor
