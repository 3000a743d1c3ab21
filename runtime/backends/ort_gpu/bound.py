"""Work in somebody's hands: host arrays of his own over buffers that others had before."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np

from omnijet.runtime.backends.on_demand import OnDemand
from omnijet.runtime.backends.ort_gpu.caches import Lease
from omnijet.runtime.backends.ort_gpu.transfers import to_host
from omnijet.runtime.backends.ort_gpu.work import DeviceWork
from omnijet.runtime.bundle.contract import NUMPY_DTYPES, Array, GraphContract


class DeviceBound:
    """Satisfies `omnijet.runtime.backends.protocol.Bound`; all inputs are zeros at first.

    Args:
        lease: of the caches that the work runs on; it goes back to them when this object is gone.
    """

    def __init__(
        self, work: DeviceWork, contract: GraphContract, sizes: Mapping[str, int],
        lease: Lease | None,
    ) -> None:  # fmt: skip
        self._work, self._lease = work, lease
        carried = {pair.input for pair in contract.state}
        self.inputs = _Sent(
            {
                spec.name: np.zeros(spec.shape(sizes), NUMPY_DTYPES[spec.dtype])
                for spec in contract.inputs
                if spec.name not in carried
            }
        )
        self.outputs = _Brought(work.brought)
        if lease is not None:
            key = tuple(sorted(sizes.items()))
            weakref.finalize(self, lease.caches.works.give, work, key).atexit = False

    def run(self) -> None:
        """Raises `OmnijetError` if ONNX Runtime fails."""
        self.outputs.here.clear()
        self._work.run(self.inputs.arrays, self.inputs.touched)
        self.inputs.touched.clear()


class _Sent(OnDemand):
    """Host arrays; `touched` are those taken since the last run, all before the first: the device
    may hold another's."""

    def __init__(self, arrays: dict[str, Array]) -> None:
        super().__init__(arrays)
        self.arrays = arrays
        self.touched = set(arrays)

    def __getitem__(self, name: str) -> Array:
        self.touched.add(name)
        return self.arrays[name]


class _Brought(OnDemand):
    """Values of the device; `here` are those brought since the last run."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self._values = values
        self.here: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        if name not in self.here:
            self.here[name] = to_host(self._values[name])
        return self.here[name]
