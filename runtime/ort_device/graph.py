"""A graph in ONNX Runtime on a device."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from runtime.backend import State, require_state
from runtime.contract import GraphContract
from runtime.ort_device.bound import DeviceBound
from runtime.ort_device.caches import DeviceCaches, DeviceState
from runtime.ort_device.session import DeviceSession
from runtime.ort_device.work import DeviceWork
from runtime.pool import Pool

KEPT_CACHES = 2
"""Of the last sequences, for the next ones of their capacity."""


class DeviceGraph:
    """Satisfies `runtime.backend.Graph`.

    Args:
        session: its boundary was checked.
        another: loads one more session, for graphs whose session is at its best with inputs of
            one length only: sizes that return get one of their own.
    """

    def __init__(
        self,
        session: DeviceSession,
        contract: GraphContract,
        device: str,
        another: Callable[[], DeviceSession] | None = None,
    ) -> None:
        self._session, self._device, self._another = session, device, another
        self._idle: Pool[DeviceCaches] = Pool(KEPT_CACHES)
        self.contract = contract

    def bind(
        self, sizes: Mapping[str, int], state: State | None = None, kept: bool = False
    ) -> DeviceBound:
        assert state is None or isinstance(state, DeviceState)
        require_state(self.contract, sizes, state)
        lease = work = None
        if state is not None:
            lease = state.lease
            work = lease.caches.works.take(tuple(sorted(sizes.items())))
        if work is None:
            session = self._another() if kept and self._another else self._session
            caches = None if lease is None else lease.caches
            again = kept or caches is not None
            work = DeviceWork(session, self.contract, sizes, caches, self._device, again)
        return DeviceBound(work, self.contract, sizes, lease)

    def new_state(self, capacity: int) -> DeviceState:
        return DeviceState(self.contract, capacity, self._device, self._idle)

    def limit(self, symbol: str) -> int | None:
        return None
