"""A graph with buffers on a device for fixed sizes, bound once."""

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
"""Runs before work is captured: chunks of a prompt run once, steps go on."""


class DeviceWork:
    """Args:
        caches: which the graph carries; they must live as long.
        again: it will run often, and is worth capturing.

    Attributes:
        brought: values that runs write, by name.
    """

    def __init__(
        self,
        session: DeviceSession,
        contract: GraphContract,
        sizes: Mapping[str, int],
        caches: DeviceCaches | None,
        device: str,
        again: bool,
    ) -> None:
        self._session, self._again = session, again
        self._runs = 0
        self._capture: Any = None
        self._is_captured = False
        self._binding = session.binding()
        carried = {pair.input for pair in contract.state}
        produced = {pair.output for pair in contract.state}
        self._sent: dict[str, Any] = {}
        for spec in contract.inputs:
            if spec.name not in carried:
                zeros = np.zeros(spec.shape(sizes), NUMPY_DTYPES[spec.dtype])
                self._sent[spec.name] = value = on_device(device, zeros)
                self._binding.bind_ortvalue_input(spec.name, value)
        self.brought: dict[str, Any] = {}
        for spec in contract.outputs:
            if spec.name not in produced:
                zeros = np.zeros(spec.shape(sizes), NUMPY_DTYPES[spec.dtype])
                self.brought[spec.name] = value = on_device(device, zeros)
                self._binding.bind_ortvalue_output(spec.name, value)
        if caches is not None:
            for pair in contract.state:
                self._binding.bind_ortvalue_input(pair.input, caches.values[pair.input])
                self._binding.bind_ortvalue_output(pair.output, caches.values[pair.input])

    def run(self, arrays: Mapping[str, Array], changed: Iterable[str]) -> None:
        """Args:
            arrays: all inputs of the host.
            changed: names of those that the device has not seen.

        Raises:
            OmnijetError: ONNX Runtime fails.
        """
        with device_call(), self._session.lock:
            if self._again and self._runs == PLAIN_RUNS:
                self._capture = self._session.new_capture()
            captures = self._capture is not None and not self._is_captured
            with GATE.alone() if captures else GATE.shared():
                for name in changed:
                    self._sent[name].update_inplace(arrays[name])
                self._session.run(self._binding, self._capture)
            self._runs += 1
            self._is_captured = self._capture is not None
