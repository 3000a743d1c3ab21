"""A graph in ONNX Runtime on a device."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from omnijet.runtime.backends.ort_gpu.bound import DeviceBound
from omnijet.runtime.backends.ort_gpu.gate import GATE
from omnijet.runtime.backends.ort_gpu.session import DeviceSession
from omnijet.runtime.backends.ort_gpu.state import DeviceState, DeviceWorkspace
from omnijet.runtime.backends.ort_gpu.work import DeviceWork
from omnijet.runtime.backends.pool import Pool
from omnijet.runtime.backends.protocol import State, require_state
from omnijet.runtime.bundle.contract import GraphContract
from omnijet.runtime.errors import OmnijetError

_log = logging.getLogger(__name__)

KEPT_WORKSPACES = 6
"""Workspaces kept, one of each of the last capacities: a conversation grows through them, and so
does the next."""
MOST_SESSIONS = 4
"""Sessions beside the first: a stream has as many lengths from its first window to the regular
one."""


class DeviceGraph:
    """Satisfies `omnijet.runtime.backends.protocol.Graph`.

    Args:
        session: the first session; its boundary was checked.
        another: loads one more session, for graphs whose session is at its best with inputs of
            one length only: sizes that return get a session of their own.
    """

    def __init__(
        self,
        session: DeviceSession,
        contract: GraphContract,
        device: str,
        another: Callable[[], DeviceSession] | None = None,
    ) -> None:
        self._session, self._device, self._another = session, device, another
        self._more = 0
        self._idle: Pool[DeviceWorkspace] = Pool(KEPT_WORKSPACES, size_per_key=1)
        self.contract = contract
        self.growth: int | None = None
        self.joins = True

    def bind(
        self, sizes: Mapping[str, int], state: State | None = None, kept: bool = False
    ) -> DeviceBound:
        assert state is None or isinstance(state, DeviceState)
        require_state(self.contract, sizes, state)
        self._session.require_open()
        lease = work = None
        if state is not None:
            lease = state.lease
            work = lease.works.take(tuple(sorted(sizes.items())))
        if work is None:
            session = self._own_session() if kept else self._session
            caches = None if lease is None else lease.caches
            # a decode step; the steps of a prefill are few, and take as long to launch as to run
            often = kept or (caches is not None and sizes["rows"] == sizes.get("picked", 1))
            work = DeviceWork(session, self.contract, sizes, caches, self._device, often)
        return DeviceBound(work, self.contract, sizes, lease)

    def _own_session(self) -> DeviceSession:
        if self._another is None or self._more >= MOST_SESSIONS:
            return self._session
        try:
            session = self._another()
        except OmnijetError as error:  # memory may have run out
            _log.warning("%s has one session for all lengths: %s", self.contract.name, error.got)
            self._more = MOST_SESSIONS
            return self._session
        self._more += 1
        return session

    def new_state(self, capacity: int) -> DeviceState:
        self._session.require_open()
        return DeviceState(self.contract, capacity, self._device, self._idle)

    def limit(self, symbol: str) -> int | None:
        return None

    def close(self) -> None:
        """Lets go of all idle caches and of the work bound to them; sessions are the backend's."""
        with GATE.shared():  # freeing the device's memory would spoil a capture
            self._idle.close()
