"""Reads graph files of a bundle, whose maker may be a stranger, and whose files may be links."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir

from omnijet.runtime.bundle.graph_rules import require_own_graph, weights_beside
from omnijet.runtime.bundle.operators import CPU, Operators
from omnijet.runtime.errors import OmnijetError


def load_graph(path: Path, operators: Operators = CPU) -> ir.Model:
    """Reads a graph file; its weights can be read from where they really lie.

    onnx_ir reads no weights from hard links, nor from a hub's cache, where they are a link: it does
    not know the file that the graph means. Here it is known and was checked.

    Raises:
        OmnijetError: the file is no graph of ours.
    """
    require_own_graph(path, path.stem, operators)
    try:
        model = ir.load(path)
    except Exception as error:  # protobuf and onnx_ir raise their own kinds
        raise OmnijetError(
            "a graph cannot be read", where=path, got=error, fix="export the bundle again"
        ) from error
    real = weights_beside(path).resolve()
    for value, tensor in _externals(model):
        value.const_value = _moved(tensor, str(real), "")
    return model


def graph_bytes(model: ir.Model) -> bytes:
    """Returns a loaded graph as the content of a file beside the weights, behind all links."""
    kept = list(_externals(model))
    for value, tensor in kept:
        real = Path(tensor.path)
        value.const_value = _moved(tensor, real.name, str(real.parent))
    try:
        content: bytes = ir.to_proto(model).SerializeToString()
    finally:
        for value, tensor in kept:
            value.const_value = tensor
    return content


def _externals(model: ir.Model) -> Iterator[tuple[ir.Value, ir.ExternalTensor]]:
    for graph in model.graphs():
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                yield value, value.const_value


def _moved(tensor: ir.ExternalTensor, location: str, folder: str) -> ir.ExternalTensor:
    return ir.ExternalTensor(
        location, tensor.offset, tensor.length, tensor.dtype, shape=tensor.shape,
        name=str(tensor.name), base_dir=folder,
    )  # fmt: skip
