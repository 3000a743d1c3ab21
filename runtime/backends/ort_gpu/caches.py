"""KV caches on a device, and who has them."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from omnijet.runtime.backends.ort_gpu.gate import GATE
from omnijet.runtime.backends.ort_gpu.transfers import on_device, to_host
from omnijet.runtime.backends.pool import Pool
from omnijet.runtime.bundle.contract import NUMPY_DTYPES, GraphContract

if TYPE_CHECKING:
    from omnijet.runtime.backends.ort_gpu.work import DeviceWork

KEPT_WORKS = 4
"""Of caches, one of each size: a decode step, a full step of prefill, what is left of prompts."""


class DeviceCaches:
    """All carried tensors of one sequence, at one capacity.

    ONNX Runtime copies parts of a tensor through the host only, which a cache is when it grows, is
    copied or is used again, and at no other time.

    Attributes:
        capacity: rows.
        values: of each carried input.
        works: what runs on them, idle; captured work knows their addresses.
    """

    def __init__(self, contract: GraphContract, capacity: int, device: str) -> None:
        """Contents are unknown."""
        self.capacity = capacity
        self._specs = [contract.input(pair.input) for pair in contract.state]
        self._device = device
        self.values: dict[str, Any] = {}
        self.works: Pool[DeviceWork] = Pool(KEPT_WORKS, alike=1)

    def fill(self, known: Mapping[str, Any], filled: int) -> None:
        """The first rows of others, and zeros, never garbage: a masked key still multiplies its
        value by zero. One after another: the host never holds two."""
        for spec in self._specs:
            rows = np.zeros(spec.shape({"capacity": self.capacity}), NUMPY_DTYPES[spec.dtype])
            if filled:
                rows[:, :, :filled] = to_host(known[spec.name])[:, :, :filled]
            if spec.name in self.values:
                with GATE.shared():
                    self.values[spec.name].update_inplace(rows)
            else:
                self.values[spec.name] = on_device(self._device, rows)


class Lease:
    """Caches lent to a state and to what is bound to it; when all of these are gone they are
    idle again."""

    def __init__(self, caches: DeviceCaches, idle: Pool[DeviceCaches]) -> None:
        self.caches = caches
        weakref.finalize(self, idle.give, caches, caches.capacity).atexit = False


class DeviceState:
    """Satisfies `omnijet.runtime.backends.protocol.State`.

    Args:
        idle: caches that nobody uses.

    Attributes:
        lease: of its caches, all zeros at first.
    """

    def __init__(
        self, contract: GraphContract, capacity: int, device: str, idle: Pool[DeviceCaches]
    ) -> None:
        self._contract, self._device, self._idle = contract, device, idle
        self.lease = self._lend(capacity, {}, 0)

    @property
    def capacity(self) -> int:
        return self.lease.caches.capacity

    @property
    def values(self) -> Mapping[str, Any]:
        return self.lease.caches.values

    def grow(self, capacity: int, filled: int) -> None:
        self.lease = self._lend(capacity, self.values, filled)

    def copy(self, filled: int) -> DeviceState:
        twin = DeviceState.__new__(DeviceState)
        twin._contract, twin._device, twin._idle = self._contract, self._device, self._idle
        twin.lease = twin._lend(self.capacity, self.values, filled)
        return twin

    def _lend(self, capacity: int, known: Mapping[str, Any], filled: int) -> Lease:
        caches = self._idle.take(capacity) or DeviceCaches(self._contract, capacity, self._device)
        caches.fill(known, filled)
        return Lease(caches, self._idle)
