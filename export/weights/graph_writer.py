"""One graph of a bundle: traced, filled with weights, saved, checked against its contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import onnx_ir as ir
from torch import nn

from omnijet.export.graphfile.saved_graph import save_graph
from omnijet.export.modules.base import Source, weight_sources
from omnijet.export.weights.packed_graph import carry_packed
from omnijet.export.weights.packed_weight import PackedPlan
from omnijet.export.weights.weight_file import ByteRuns, RowReader, write_weights
from omnijet.runtime.bundle.contract import GraphContract
from omnijet.runtime.bundle.manifest import GraphEntry


def write_graph(
    model: ir.Model,
    sources: Mapping[str, Source],
    contract: GraphContract,
    reader: RowReader,
    folder: Path,
    progress: Callable[[int], None],
    packed: PackedPlan | None = None,
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
    weights = f"{contract.name}.weights"
    everything: dict[str, Source | ByteRuns] = {**sources, **carry_packed(model, packed or {})}
    parameters = write_weights(model, everything, reader, graphs, weights, progress)
    return save_graph(model, contract, graphs, parameters)


def weight_bytes(module: nn.Module, packed: PackedPlan | None = None) -> int:
    """Bytes of a graph's weights; `packed` are those that are written packed."""
    total = 0
    for name in weight_sources(module):
        value = module.get_parameter(name)
        parts = (packed or {}).get(name)
        total += (
            value.numel() * value.element_size()
            if parts is None
            else sum(part.nbytes(value.element_size()) for part in parts)
        )
    return total
