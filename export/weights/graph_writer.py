"""Fills a traced graph with weights, saves it and checks it against its contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import onnx_ir as ir
from torch import nn

from omnijet.export.graphfile.running_hash import RunningHash
from omnijet.export.graphfile.saved_graph import save_graph
from omnijet.export.modules.base import Source, weight_sources
from omnijet.export.weights.packed_graph import carry_packed
from omnijet.export.weights.packed_weight import PackedPlan
from omnijet.export.weights.weight_file import ByteRuns, RowReader, write_weights
from omnijet.runtime.bundle.contract import GraphContract
from omnijet.runtime.bundle.finished import FinishedGraph
from omnijet.runtime.bundle.manifest import hash_file


def write_graph(
    model: ir.Model,
    sources: Mapping[str, Source],
    contract: GraphContract,
    reader: RowReader,
    folder: Path,
    progress: Callable[[int], None],
    packed: PackedPlan | None = None,
) -> FinishedGraph:
    """Writes `folder/graphs/NAME.onnx` and its weight file beside it.

    Args:
        model: The traced graph, without weights.
        sources: Weight name -> its source in the checkpoint.
        contract: The contract of the graph.
        reader: The checkpoint.
        folder: The bundle.
        progress: Receives the number of bytes of each written tensor.
        packed: The weights that the checkpoint stores packed; their numbers are kept.

    Returns:
        The manifest's entry for the graph, with the hashes of its files.

    Raises:
        OmnijetError: A weight does not fit f16, or the saved graph breaks its contract.
    """
    graphs = folder / "graphs"
    graphs.mkdir(exist_ok=True)
    weights = f"{contract.name}.weights"
    everything: dict[str, Source | ByteRuns] = {**sources, **carry_packed(model, packed or {})}
    (graphs / weights).touch()
    with RunningHash(graphs / weights) as behind:
        parameters = write_weights(
            model, everything, reader, graphs, weights, progress, behind.upto
        )
        entry = save_graph(model, contract, graphs, parameters)
        hashes = {entry.weights: behind.entry(), entry.file: hash_file(folder / entry.file)}
    return FinishedGraph(entry, hashes)


def weight_bytes(module: nn.Module, packed: PackedPlan | None = None) -> int:
    """Returns the size of a graph's weights in bytes; `packed` holds those written packed."""
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
