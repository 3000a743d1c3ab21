"""KV caches on a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from omnijet.runtime.backends.ort_gpu.gate import GATE
from omnijet.runtime.backends.ort_gpu.transfers import on_device, to_host
from omnijet.runtime.bundle.contract import NUMPY_DTYPES, GraphContract


class DeviceCaches:
    """All carried tensors of one sequence, at one capacity; their contents are unknown at first.

    ONNX Runtime copies a part of a tensor through the host only. That happens when a cache grows,
    is copied or is used again, and at no other time.

    Args:
        device: the name that ONNX Runtime gives the device.

    Attributes:
        capacity: rows.
        values: the device value of each carried input.
    """

    def __init__(self, contract: GraphContract, capacity: int, device: str) -> None:
        self.capacity = capacity
        self._specs = [contract.input(pair.input) for pair in contract.state]
        self._device = device
        self.values: dict[str, Any] = {}

    def fill(self, known: Mapping[str, Any], filled: int) -> None:
        """Writes the first rows of other caches, and zeros behind them.

        Zeros, never garbage: a masked key still multiplies its value by zero. Tensors are written
        one after another, so that the host never holds two.

        Args:
            known: the other caches' values by name.
            filled: how many of their rows are taken.
        """
        for spec in self._specs:
            rows = np.zeros(spec.shape({"capacity": self.capacity}), NUMPY_DTYPES[spec.dtype])
            if filled:
                rows[:, :, :filled] = to_host(known[spec.name])[:, :, :filled]
            if spec.name in self.values:
                with GATE.shared():
                    self.values[spec.name].update_inplace(rows)
            else:
                self.values[spec.name] = on_device(self._device, rows)
