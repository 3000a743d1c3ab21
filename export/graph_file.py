"""One graph of a bundle: traced, filled with weights, saved, checked against its contract."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
import onnx_ir as ir

from export import ops
from export.modules.base import Source
from export.packed import Plan
from export.packed_graph import carry_packed
from export.weight_file import RowReader, Runs, write_weights
from runtime.contract import FoundTensor, GraphContract, verify
from runtime.manifest import GraphEntry

_DTYPE_NAMES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "f32",
    onnx.TensorProto.FLOAT16: "f16",
    onnx.TensorProto.INT64: "i64",
    onnx.TensorProto.BOOL: "bool",
}


def write_graph(
    model: ir.Model,
    sources: Mapping[str, Source],
    contract: GraphContract,
    reader: RowReader,
    folder: Path,
    progress: Callable[[int], None],
    packed: Plan | None = None,
) -> GraphEntry:
    """Writes `folder/graphs/NAME.onnx` and its weights beside it.

    Args:
        model: traced, without weights.
        sources: where each weight comes from.
        progress: told the bytes written.
        packed: weights that the checkpoint holds packed, carried as they are.
    """
    graphs = folder / "graphs"
    graphs.mkdir(exist_ok=True)
    path = graphs / f"{contract.name}.onnx"
    weights = f"{contract.name}.weights"
    everything: dict[str, Source | Runs] = {**sources, **carry_packed(model, packed or {})}
    parameters = write_weights(model, everything, reader, graphs, weights, progress)
    ir.save(model, path)
    check_graph(path, contract)
    histogram = Counter(node.op_type for node in model.graph)
    return GraphEntry(
        file=f"graphs/{path.name}",
        weights=f"graphs/{weights}",
        parameters=parameters,
        weight_bytes=(graphs / weights).stat().st_size,
        nodes=sum(histogram.values()),
        opset=ops.OPSET,
        ops=dict(histogram.most_common()),
    )


def check_graph(path: Path, contract: GraphContract) -> None:
    """The saved file passes the ONNX checker, has only standard operators, and keeps its
    contract. Weights are not read.

    Raises:
        ContractError: the boundary differs.
    """
    model = onnx.load(path, load_external_data=False)
    assert {opset.domain for opset in model.opset_import} == {""}, model.opset_import
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
