"""A graph file with its weight file beside it: saved, checked against its contract, described.
No torch here: whatever writes graphs ends with this."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path

import onnx
import onnx_ir as ir

from omnijet.export.graphfile.dtypes import IR_DTYPES
from omnijet.runtime.bundle.contract import FoundTensor, GraphContract, verify
from omnijet.runtime.bundle.manifest import GraphEntry

# onnx_ir numbers dtypes as ONNX does
_DTYPE_NAMES: dict[int, str] = {dtype.value: name for name, dtype in IR_DTYPES.items()}


def save_graph(
    model: ir.Model,
    contract: GraphContract,
    graphs: Path,
    parameters: int,
    domains: Collection[str] = (),
) -> GraphEntry:
    """Writes `graphs/NAME.onnx`; `graphs/NAME.weights` is there, whole, and the model points
    into it. What the entry names is relative to the folder that `graphs` is in.

    Args:
        domains: of operators beyond the standard ones that this graph may have.

    Raises:
        ContractError: the boundary differs.
    """
    path = graphs / f"{contract.name}.onnx"
    weights = graphs / f"{contract.name}.weights"
    ir.save(model, path)
    check_graph(path, contract, domains)
    histogram = Counter(node.op_type for node in model.graph)
    return GraphEntry(
        file=f"{graphs.name}/{path.name}",
        weights=f"{graphs.name}/{weights.name}",
        parameters=parameters,
        weight_bytes=weights.stat().st_size,
        nodes=sum(histogram.values()),
        opset=model.opset_imports[""],
        ops=dict(histogram.most_common()),
    )


def check_graph(path: Path, contract: GraphContract, domains: Collection[str] = ()) -> None:
    """The saved file passes the ONNX checker, has only standard operators and those of
    `domains`, and keeps its contract. Weights are not read.

    Raises:
        ContractError: the boundary differs.
    """
    model = onnx.load(path, load_external_data=False)
    found = {opset.domain for opset in model.opset_import}
    assert "" in found and found <= {"", *domains}, model.opset_import
    onnx.checker.check_model(str(path))
    verify(
        contract,
        [_found(value) for value in model.graph.input],
        [_found(value) for value in model.graph.output],
        path,
    )


def _found(value: onnx.ValueInfoProto) -> FoundTensor:
    tensor = value.type.tensor_type
    axes: list[int | str | None] = []
    for dim in tensor.shape.dim:
        kind = dim.WhichOneof("value")
        axes.append(None if kind is None else getattr(dim, kind))
    dtype = _DTYPE_NAMES.get(tensor.elem_type, onnx.TensorProto.DataType.Name(tensor.elem_type))
    return FoundTensor(value.name, dtype, tuple(axes))
