"""One graph of a bundle: traced, filled with weights, saved, checked against its contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import onnx_ir as ir

from export.modules.base import Source
from export.saved_graph import save_graph
from export.weight_file import RowReader, write_weights
from runtime.contract import GraphContract
from runtime.manifest import GraphEntry


def write_graph(
    model: ir.Model,
    sources: Mapping[str, Source],
    contract: GraphContract,
    reader: RowReader,
    folder: Path,
    progress: Callable[[int], None],
) -> GraphEntry:
    """Writes `folder/graphs/NAME.onnx` and its weights beside it.

    Args:
        model: traced, without weights.
        sources: where each weight comes from.
        progress: told the bytes written.
    """
    graphs = folder / "graphs"
    graphs.mkdir(exist_ok=True)
    weights = f"{contract.name}.weights"
    parameters = write_weights(model, sources, reader, graphs, weights, progress)
    return save_graph(model, contract, graphs, parameters)
