"""Finds the weights that a checkpoint stores packed and checks them before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from omnijet.export.checkpoint.folder import Checkpoint
from omnijet.export.checkpoint.packing import Packing
from omnijet.export.checkpoint.tensor_layout import checkpoint_layout
from omnijet.export.modules.base import Source
from omnijet.export.weights.packed_weight import PackedPlan, PackedWeight, stored_zeros, zero_points
from omnijet.export.weights.packed_words import unpack_columns
from omnijet.runtime.errors import OmnijetError

_LISTED = 8


def packed_plan(
    checkpoint: Checkpoint, sources: Mapping[str, Mapping[str, Source]]
) -> dict[str, PackedPlan]:
    """Returns the packed weights of each graph.

    Reads the zero points and group indices of all packed layers, about a thousandth of the
    checkpoint.

    Args:
        checkpoint: The checkpoint.
        sources: Graph -> weight -> its source in the checkpoint.

    Raises:
        OmnijetError: Lists the layers whose values cannot be kept exactly.
    """
    if checkpoint.packing is None:
        return {graph: {} for graph in sources}
    planner = _Planner(checkpoint, checkpoint.packing)
    plans = {graph: planner.plan(weights) for graph, weights in sources.items()}
    if planner.faults:
        count = len(planner.faults)
        more = [f"and {count - _LISTED} more"] if count > _LISTED else []
        raise OmnijetError(
            f"{count} packed layers cannot be converted exactly",
            where=checkpoint.folder,
            got="\n            ".join(planner.faults[:_LISTED] + more),
            fix="download the checkpoint again, or quantize the full-precision one: "
            "`omnijet export`, then `omnijet quantize`",
        )
    return plans


class _Planner:
    """Plans the packed weights of one graph after the other and collects faults."""

    def __init__(self, checkpoint: Checkpoint, packing: Packing) -> None:
        self.checkpoint = checkpoint
        self.packing = packing
        self.stored = checkpoint.keys()
        self.layout = checkpoint_layout(checkpoint.dims)
        self.faults: list[str] = []

    def plan(self, sources: Mapping[str, Source]) -> PackedPlan:
        plan: dict[str, tuple[PackedWeight, ...]] = {}
        for weight, source in sources.items():
            names = [key.removesuffix(".weight") for key in source.keys]
            packed = [f"{name}.qweight" in self.stored for name in names]
            if packed and all(packed):
                plan[weight] = self.parts(names, source)
            elif any(packed):
                floats = ", ".join(n for n, found in zip(names, packed, strict=True) if not found)
                self.faults.append(f"{floats}: float, but joined with packed layers")
        return plan

    def parts(self, names: Sequence[str], source: Source) -> tuple[PackedWeight, ...]:
        """Splits a weight into parts with one order of input features each, as few as possible."""
        inputs = source.shapes[0][1]
        symmetric = all([self._symmetric(name) for name in names])
        orders = [self._order(name, inputs) for name in names]
        for name in names:
            self._check_spare_bias(name)
        parts: list[PackedWeight] = []
        for name, (width, _), order in zip(names, source.shapes, orders, strict=True):
            joined: tuple[str, ...] = ()
            widths: tuple[int, ...] = ()
            if parts and _same(parts[-1].order, order):
                joined, widths = parts[-1].names, parts[-1].widths
                parts.pop()
            parts.append(
                PackedWeight(
                    (*joined, name), (*widths, width), inputs, self.packing, symmetric, order
                )
            )
        return tuple(parts)

    def _symmetric(self, name: str) -> bool:
        """Returns whether every zero point is the middle of the range.

        Records a fault if the format has lost zero points of 0.
        """
        packing = self.packing
        most = 2**packing.bits - 1
        if packing.zeros_less_one and not packing.borrows:
            # a zero point of 0, stored less one, is lost: AutoGPTQ reads it as 0, other readers
            # as 16, and its writer damaged the neighbouring numbers
            stored = unpack_columns(stored_zeros(self.checkpoint, name), packing.bits)
            if (stored == most).any():
                count = int((stored == most).sum())
                self.faults.append(f"{name}: {count} zero points of 0, lost in format 'gptq'")
        zeros = zero_points(self.checkpoint, name, packing)
        return bool((zeros == (most + 1) // 2).all())

    def _order(self, name: str, inputs: int) -> npt.NDArray[np.int32] | None:
        """Returns the input features sorted by group, or None if they are stored in this order."""
        key = f"{name}.g_idx"
        if key not in self.stored:
            return None
        group_of = self.checkpoint.tensor(key).numpy()
        order = np.argsort(group_of, kind="stable").astype(np.int32)
        wanted = np.arange(inputs) // self.packing.group
        if not np.array_equal(group_of[order], wanted):
            self.faults.append(
                f"{name}: g_idx has groups of another size than {self.packing.group}"
            )
        return None if np.array_equal(group_of, wanted) else order

    def _check_spare_bias(self, name: str) -> None:
        """Checks that a bias unknown to the model is zero: some packers write such biases."""
        key = f"{name}.bias"
        if key in self.stored and key not in self.layout:
            values = self.checkpoint.tensor(key)
            if bool((values != 0).any()):
                self.faults.append(f"{name}: a bias that is not zero, where the model has none")


def _same(one: npt.NDArray[np.int32] | None, other: npt.NDArray[np.int32] | None) -> bool:
    return one is other if one is None or other is None else np.array_equal(one, other)
