"""A graph with device buffers for fixed sizes, bound once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from omnijet.runtime.backends.device_call import device_call
from omnijet.runtime.backends.ort_gpu.caches import DeviceCaches
from omnijet.runtime.backends.ort_gpu.gate import GATE
from omnijet.runtime.backends.ort_gpu.session import DeviceSession
from omnijet.runtime.backends.ort_gpu.transfers import on_device
from omnijet.runtime.bundle.contract import NUMPY_DTYPES, Array, GraphContract

PLAIN_RUNS = 2
"""Runs before work is captured: a chunk of a prompt runs once, a decode step many times."""


class DeviceWork:
    """One binding of a session, with the buffers that it reads and writes.

    Args:
        caches: the caches that the graph carries; they must live as long as the work.
        runs_often: whether the work is worth capturing.

    Attributes:
        outputs: the device values that a run writes, by name.
    """

    def __init__(
        self,
        session: DeviceSession,
        contract: GraphContract,
        sizes: Mapping[str, int],
        caches: DeviceCaches | None,
        device: str,
        runs_often: bool,
    ) -> None:
        self._session, self._runs_often = session, runs_often
        self._runs = 0
        self._capture: Any = None
        self._is_captured = False
        self._binding = session.binding()
        made = self._binding.made
        carried = {pair.input for pair in contract.state}
        produced = {pair.output for pair in contract.state}
        self._inputs: dict[str, Any] = {}
        for spec in contract.inputs:
            if spec.name not in carried:
                zeros = np.zeros(spec.shape(sizes), NUMPY_DTYPES[spec.dtype])
                self._inputs[spec.name] = value = on_device(device, zeros)
                made.bind_ortvalue_input(spec.name, value)
        self.outputs: dict[str, Any] = {}
        for spec in contract.outputs:
            if spec.name not in produced:
                zeros = np.zeros(spec.shape(sizes), NUMPY_DTYPES[spec.dtype])
                self.outputs[spec.name] = value = on_device(device, zeros)
                made.bind_ortvalue_output(spec.name, value)
        if caches is not None:
            for pair in contract.state:
                made.bind_ortvalue_input(pair.input, caches.values[pair.input])
                made.bind_ortvalue_output(pair.output, caches.values[pair.input])

    def run(self, arrays: Mapping[str, Array], changed: Iterable[str]) -> None:
        """Sends what changed, and runs the graph.

        Args:
            arrays: all inputs, on the host.
            changed: names of the inputs that the device has not seen.

        Raises:
            OmnijetError: ONNX Runtime fails.
        """
        with device_call(), self._session.lock:
            if self._runs_often and self._runs == PLAIN_RUNS:
                self._capture = self._session.new_capture()
            captures = self._capture is not None and not self._is_captured
            with GATE.alone() if captures else GATE.shared():
                for name in changed:
                    self._inputs[name].update_inplace(arrays[name])
                self._session.run(self._binding, self._capture)
            self._runs += 1
            self._is_captured = self._capture is not None
