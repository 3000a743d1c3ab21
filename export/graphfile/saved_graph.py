"""Saves a graph beside its weight file, checks it against its contract and describes it."""

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
    """Writes `graphs/NAME.onnx` and describes it for the manifest.

    Args:
        model: The graph. Its weights point into `graphs/NAME.weights`, which is complete.
        contract: The contract that the saved file must keep.
        graphs: The folder `graphs` of a bundle.
        parameters: The number of parameters.
        domains: Operator domains that this graph may use besides the standard one.

    Returns:
        The manifest's entry; its paths are relative to the bundle.

    Raises:
        ContractError: The inputs or outputs differ from the contract.
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
    """Checks a saved graph with the ONNX checker and against its contract.

    Only standard operators and those of `domains` are allowed. Weights are not read.

    Raises:
        ContractError: The inputs or outputs differ from the contract.
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
