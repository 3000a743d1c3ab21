"""What every lowering does around its passes: reads a graph file, writes another with weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from omnijet.engines.lowering.constants import Constants
from omnijet.export.graphfile.loading import load_graph
from omnijet.export.graphfile.saved_graph import save_graph
from omnijet.export.graphfile.weight_pages import WeightPages
from omnijet.runtime.bundle.contract import GraphContract, Precision, wide_contract
from omnijet.runtime.bundle.manifest import GraphEntry
from omnijet.runtime.errors import OmnijetError

Passes = Callable[[Constants, GraphContract], Sequence[ir.passes.InPlacePass]]
"""Returns the passes over one graph in order; they write new weights to the constants."""


@dataclass(frozen=True, slots=True)
class Lowering:
    """The passes from the canonical graph to one form, and what they promise.

    Attributes:
        domains: domains of non-standard operators that the lowered graph may have.
        newest_opset: newest opset that its file may state; None: the canonical graph's.
        operators: all operators that the graph may have; None: any.
        precision: that of the lowered graph's caches; None: the canonical graph's.
    """

    passes: Passes
    domains: tuple[str, ...] = ()
    newest_opset: int | None = None
    operators: frozenset[str] | None = None
    precision: Precision | None = None

    def contract(self, canonical: GraphContract) -> GraphContract:
        """Returns the contract that the lowered graph keeps."""
        if self.precision is None:
            return canonical
        assert self.precision == "f32", self.precision
        return wide_contract(canonical)

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
            target: folder of the new graph and its weight file, not the source's folder.
            parameters: the source's count, for the entry.
            progress: receives the bytes of each tensor that is copied unchanged.

        Raises:
            ContractError: the boundary differs.
            OmnijetError: an operator is left that the form does not allow.
        """
        model = load_graph(source)
        target.mkdir(parents=True, exist_ok=True)
        with WeightPages(target, f"{contract.name}.weights") as pages:
            constants = Constants(model.graph, pages)
            for one in self.passes(constants, contract):
                one(model)
            self._check(model, source)
            constants.copy_rest(progress)
        return save_graph(model, self.contract(contract), target, parameters, self.domains)

    def _check(self, model: ir.Model, source: Path) -> None:
        """Checks operators and opset; `save_graph` checks domains and boundary."""
        if self.newest_opset is not None:
            assert model.opset_imports[""] <= self.newest_opset, model.opset_imports
        if self.operators is None:
            return
        left = {node.op_type for node in ir.traversal.RecursiveGraphIterator(model.graph)}
        if left := left - self.operators:
            raise OmnijetError(
                "a graph has operators that this flavour does not know",
                where=source,
                expected="the operators of a canonical graph of this version",
                got=", ".join(sorted(left)),
                fix="export the bundle again with this version of omnijet",
            )
