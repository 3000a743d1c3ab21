"""Puts a graph that ONNX Runtime's optimizer saved into the form of our graph files.

ONNX Runtime names every domain that it knows, and writes small integers in fields of their own;
our files name the domains that they use, and hold raw bytes (`runtime/bundle/graph_file.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import numpy_helper

from omnijet.export.graphfile.saved_graph import check_graph
from omnijet.runtime.bundle.contract import GraphContract
from omnijet.runtime.bundle.graph_rules import require_own_graph
from omnijet.runtime.bundle.operators import ORT_DOMAIN, ORT_LAYOUT_DOMAIN, Operators
from omnijet.runtime.errors import OmnijetError

ALIGNED = 4  # bytes: floats are mapped from where they lie


def tidy(path: Path, contract: GraphContract, operators: Operators) -> None:
    """Rewrites a saved graph file in place; its weights stay as they are.

    Raises:
        OmnijetError: it has an operator that is not listed, or a weight lies where no float can.
    """
    model = onnx.load(path, load_external_data=False)
    used = {node.domain for graph in _graphs(model.graph) for node in graph.node}
    kept = [opset for opset in model.opset_import if opset.domain in used | {""}]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    for graph in _graphs(model.graph):
        del graph.value_info[:]
        for tensor in graph.initializer:
            _make_raw(tensor, path)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    _make_raw(attribute.t, path)
    onnx.save(model, path)
    require_own_graph(path, contract.name, operators)
    check_graph(path, contract, {ORT_DOMAIN, ORT_LAYOUT_DOMAIN})


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yields a graph and those within it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _make_raw(tensor: onnx.TensorProto, path: Path) -> None:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        place = {entry.key: entry.value for entry in tensor.external_data}
        if int(place.get("offset", "0")) % ALIGNED:
            raise OmnijetError("a weight is not aligned", where=path, got=tensor.name)
    elif not tensor.HasField("raw_data"):
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), name))
