"""The carried state of one sequence: KV caches on a device, lent by the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omnijet.runtime.backends.lease import Lease, Workspace
from omnijet.runtime.backends.ort_gpu.caches import DeviceCaches
from omnijet.runtime.backends.ort_gpu.transfers import to_host
from omnijet.runtime.backends.ort_gpu.work import DeviceWork
from omnijet.runtime.backends.pool import Pool
from omnijet.runtime.bundle.contract import Array, GraphContract

KEPT_WORKS = 4
"""Works that are kept for one set of caches, one of each size: a decode step, a full step of
prefill, and what is left of prompts."""

DeviceWorkspace = Workspace[DeviceCaches, DeviceWork]
DeviceLease = Lease[DeviceCaches, DeviceWork]


class DeviceState:
    """Satisfies `omnijet.runtime.backends.protocol.State`.

    Args:
        idle: workspaces that nobody uses, by capacity.

    Attributes:
        lease: the caches, all zeros at first, and the work bound to them.
    """

    def __init__(
        self, contract: GraphContract, capacity: int, device: str, idle: Pool[DeviceWorkspace]
    ) -> None:
        self._contract, self._device, self._idle = contract, device, idle
        self.lease = self._lend(capacity, {}, 0)

    @property
    def capacity(self) -> int:
        return self.lease.caches.capacity

    @property
    def values(self) -> Mapping[str, Any]:
        """Device values of the caches by name."""
        return self.lease.caches.values

    def grow(self, capacity: int, filled: int) -> None:
        self.lease = self._lend(capacity, self.values, filled)

    def copy(self, filled: int) -> DeviceState:
        twin = DeviceState.__new__(DeviceState)
        twin._contract, twin._device, twin._idle = self._contract, self._device, self._idle
        twin.lease = twin._lend(self.capacity, self.values, filled)
        return twin

    def rows(self, chosen: Sequence[int]) -> dict[str, Array]:
        return {name: to_host(one)[:, :, list(chosen)] for name, one in self.values.items()}

    def _lend(self, capacity: int, known: Mapping[str, Any], filled: int) -> DeviceLease:
        found = self._idle.take(capacity)
        if found is None:
            caches = DeviceCaches(self._contract, capacity, self._device)
            found = Workspace(caches, Pool(KEPT_WORKS, size_per_key=1))
        found.caches.fill(known, filled)
        return Lease(found, self._idle, capacity)
