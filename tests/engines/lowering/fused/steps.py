"""Steps of a decoder over caches that are updated in place, as the runtime takes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from omnijet.runtime.bundle.contract import NUMPY_DTYPES, Array, GraphContract
from tests.quantization.graphs import feeds, session

CONVERSATION = (
    (0, 37), (37, 1), (38, 1), (39, 5),  # a prompt, two tokens, a draft of four
    (41, 2), (43, 64), (20, 1), (21, 3),  # rewound twice
    (24, 77), (101, 30),  # the caches are full
)  # fmt: skip
"""(rows that are kept, new rows) of each step."""
CAPACITY = 131


class Stepper:
    """A graph with caches of its own; all zeros at first, as in the runtime."""

    def __init__(
        self, path: Path, contract: GraphContract, capacity: int = CAPACITY, optimize: bool = True
    ) -> None:
        self._contract = contract
        self._session = session(path, optimize=optimize)
        self._caches = {}
        for pair in contract.state:
            spec = contract.input(pair.input)
            zeros = np.zeros(spec.shape({"capacity": capacity}), NUMPY_DTYPES[spec.dtype])
            self._caches[pair.input] = onnxruntime.OrtValue.ortvalue_from_numpy(zeros.copy())

    def run(self, inputs: dict[str, Array], filled: int) -> list[Array]:
        """Returns the outputs that are not carried, then the filled rows of the caches."""
        binding, state = self._session.io_binding(), self._contract.state
        for spec in self._contract.inputs:
            value = self._caches.get(spec.name)
            if value is None:
                value = onnxruntime.OrtValue.ortvalue_from_numpy(inputs[spec.name])
            binding.bind_ortvalue_input(spec.name, value)
        written = {pair.output: self._caches[pair.input] for pair in state}
        names = [spec.name for spec in self._contract.outputs if spec.name not in written]
        for spec in self._contract.outputs:
            if spec.name in written:
                binding.bind_ortvalue_output(spec.name, written[spec.name])
            else:
                binding.bind_output(spec.name)
        self._session.run_with_iobinding(binding)
        places = [spec.name for spec in self._contract.outputs]
        values = binding.get_outputs()
        found: list[Array] = [values[places.index(name)].numpy().copy() for name in names]
        return found + [value.numpy()[:, :, :filled].copy() for value in self._caches.values()]


def converse(
    steppers: Sequence[Stepper], contract: GraphContract, capacity: int = CAPACITY
) -> list[list[list[Array]]]:
    """Takes all steps of the conversation with each; returns outputs by step and stepper."""
    results = []
    for seed, (kept, rows) in enumerate(CONVERSATION):
        inputs = feeds(contract, seed, {"rows": rows, "capacity": capacity})
        inputs["write_index"] = np.array([kept], np.int64)
        seen = kept + np.arange(1, rows + 1)
        inputs["mask"] = (np.arange(capacity) < seen[:, None])[None, None]
        results.append([one.run(inputs, kept + rows) for one in steppers])
    return results
