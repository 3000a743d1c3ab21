"""Work in use: the user's own host arrays over device buffers that others had before."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np

from omnijet.runtime.backends.on_demand import OnDemand
from omnijet.runtime.backends.ort_gpu.state import DeviceLease
from omnijet.runtime.backends.ort_gpu.transfers import to_host
from omnijet.runtime.backends.ort_gpu.work import DeviceWork
from omnijet.runtime.bundle.contract import NUMPY_DTYPES, Array, GraphContract


class DeviceBound:
    """Satisfies `omnijet.runtime.backends.protocol.Bound`; all inputs are zeros at first.

    Args:
        lease: the caches that the work runs on. The work returns to the lease's idle works when
            this object is gone.
    """

    def __init__(
        self, work: DeviceWork, contract: GraphContract, sizes: Mapping[str, int],
        lease: DeviceLease | None,
    ) -> None:  # fmt: skip
        self._work, self._lease = work, lease
        carried = {pair.input for pair in contract.state}
        self.inputs = _Inputs(
            {
                spec.name: np.zeros(spec.shape(sizes), NUMPY_DTYPES[spec.dtype])
                for spec in contract.inputs
                if spec.name not in carried
            }
        )
        self.outputs = _Outputs(work.outputs)
        if lease is not None:
            key = tuple(sorted(sizes.items()))
            weakref.finalize(self, lease.works.give, work, key).atexit = False

    def run(self) -> None:
        """Raises `OmnijetError` if ONNX Runtime fails."""
        self.outputs.fetched.clear()
        self._work.run(self.inputs.arrays, self.inputs.touched)
        self.inputs.touched.clear()


class _Inputs(OnDemand):
    """Host arrays that are sent to the device if they were taken.

    Attributes:
        touched: names of the arrays taken since the last run; all of them before the first, as
            the device may hold another user's values.
    """

    def __init__(self, arrays: dict[str, Array]) -> None:
        super().__init__(arrays)
        self.arrays = arrays
        self.touched = set(arrays)

    def __getitem__(self, name: str) -> Array:
        self.touched.add(name)
        return self.arrays[name]


class _Outputs(OnDemand):
    """Device values that are copied to the host when they are taken.

    Attributes:
        fetched: the copies made since the last run.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self._values = values
        self.fetched: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        if name not in self.fetched:
            self.fetched[name] = to_host(self._values[name])
        return self.fetched[name]
