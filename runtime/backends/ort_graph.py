"""A graph of ONNX Runtime on the CPU, its buffers and its KV caches, in numpy's memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime

from omnijet.runtime.backends.ort_session import OrtSession
from omnijet.runtime.backends.pages import zeros
from omnijet.runtime.backends.protocol import State, require_state
from omnijet.runtime.bundle.contract import NUMPY_DTYPES, Array, GraphContract

_BFLOAT16 = 16  # in ONNX's enumeration of types
GROWTH = 256
"""Rows by which caches grow: its attention reads the whole capacity, and the CPU copies quickly."""


class OrtGraph:
    """A loaded session whose boundary was checked."""

    growth: int | None = GROWTH
    # 8 frames of 512 patches at the 3B's dimensions: 13.9 s one by one, 14.6 s together
    joins = False

    def __init__(self, session: OrtSession, contract: GraphContract) -> None:
        self._session = session
        self.contract = contract

    def bind(
        self, sizes: Mapping[str, int], state: State | None = None, kept: bool = False
    ) -> OrtBound:
        assert state is None or isinstance(state, OrtState)
        return OrtBound(self._session, self.contract, sizes, state)

    def new_state(self, capacity: int) -> OrtState:
        return OrtState(self.contract, capacity)

    def limit(self, symbol: str) -> int | None:
        return None


class OrtState:
    """KV caches in numpy memory: one array per state pair, shared with the session."""

    def __init__(self, contract: GraphContract, capacity: int) -> None:
        self._contract = contract
        self.capacity = capacity
        self.arrays = self._zeros(capacity)
        self.values = {name: shared(array) for name, array in self.arrays.items()}

    def _zeros(self, capacity: int) -> dict[str, Array]:
        """Returns empty caches. Zeros, never garbage: a masked key still multiplies its value by
        zero. The system gives memory only to what is written.
        """
        specs = [self._contract.input(pair.input) for pair in self._contract.state]
        return {
            spec.name: zeros(spec.shape({"capacity": capacity}), NUMPY_DTYPES[spec.dtype])
            for spec in specs
        }

    def grow(self, capacity: int, filled: int) -> None:
        """Moves one cache after the other: never are there two sets of all rows."""
        for name, array in self._zeros(capacity).items():
            array[:, :, :filled] = self.arrays[name][:, :, :filled]
            self.arrays[name], self.values[name] = array, shared(array)
        self.capacity = capacity

    def copy(self, filled: int) -> OrtState:
        twin = OrtState(self._contract, self.capacity)
        for name, array in twin.arrays.items():
            array[:, :, :filled] = self.arrays[name][:, :, :filled]
        return twin

    def rows(self, chosen: Sequence[int]) -> dict[str, Array]:
        # indexing with a list copies
        return {name: array[:, :, list(chosen)] for name, array in self.arrays.items()}


class OrtBound:
    """Buffers for fixed sizes, bound once; `run` allocates nothing of ours.

    Attributes:
        binding: what the contract does not know can be bound to it, too.
    """

    def __init__(
        self,
        session: OrtSession,
        contract: GraphContract,
        sizes: Mapping[str, int],
        state: OrtState | None,
    ) -> None:
        self._session = session
        self.binding = session.binding()
        self.inputs: dict[str, Array] = {}
        self.outputs: dict[str, Array] = {}
        made = self.binding.made
        carried = {pair.input for pair in contract.state}
        require_state(contract, sizes, state)
        for spec in contract.inputs:
            if spec.name not in carried:
                array = np.zeros(spec.shape(sizes), NUMPY_DTYPES[spec.dtype])
                self.inputs[spec.name] = array
                made.bind_ortvalue_input(spec.name, shared(array))
        produced = {pair.output for pair in contract.state}
        for spec in contract.outputs:
            if spec.name not in produced:
                array = np.zeros(spec.shape(sizes), NUMPY_DTYPES[spec.dtype])
                self.outputs[spec.name] = array
                made.bind_ortvalue_output(spec.name, shared(array))
        if state is not None:
            for pair in contract.state:
                value = state.values[pair.input]
                made.bind_ortvalue_input(pair.input, value)
                made.bind_ortvalue_output(pair.output, value)

    def run(self) -> None:
        self._session.run(self.binding)


def shared(array: Array) -> Any:
    """Returns an OrtValue over the array's own memory; nothing is copied."""
    if array.dtype == NUMPY_DTYPES["bf16"]:
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, _BFLOAT16)
    return onnxruntime.OrtValue.ortvalue_from_numpy(array)
