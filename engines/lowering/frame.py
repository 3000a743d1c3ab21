"""What every lowering does around its passes: a graph file becomes another beside new weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from engines.lowering.constants import Constants
from export.saved_graph import save_graph
from export.weight_pages import WeightPages
from runtime.contract import GraphContract
from runtime.manifest import GraphEntry

Passes = Callable[[Constants, GraphContract], Sequence[ir.passes.InPlacePass]]
"""The passes over one graph, in their order; what they make of weights goes to the constants."""


@dataclass(frozen=True, slots=True)
class Lowering:
    """From the canonical graph to the form of a flavour: its passes, and what they promise.

    Attributes:
        domains: of operators beyond the standard ones that the lowered graph may have.
    """

    passes: Passes
    domains: tuple[str, ...] = ()

    def __call__(
        self,
        source: Path,
        contract: GraphContract,
        target: Path,
        parameters: int,
        progress: Callable[[int], None],
    ) -> GraphEntry:
        """Writes the graph at `source` into folder `target`. Holds one layer's weight at a time.

        Args:
            target: folder of the new graph and its weight file, not that of the source.
            parameters: of the source, for the entry.
            progress: told the bytes of the tensors that go over unchanged.

        Raises:
            ContractError: the boundary differs.
        """
        model = ir.load(source)
        target.mkdir(parents=True, exist_ok=True)
        with WeightPages(target, f"{contract.name}.weights") as pages:
            constants = Constants(model.graph, pages)
            for one in self.passes(constants, contract):
                one(model)
            constants.copy_rest(progress)
        return save_graph(model, contract, target, parameters, self.domains)
