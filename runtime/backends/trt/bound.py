"""Work that is lent: to whoever bound it, and whoever still holds an array of it."""

from __future__ import annotations

import weakref
from collections.abc import Hashable

from omnijet.runtime.backends.pool import Pool
from omnijet.runtime.backends.trt.buffers import Inputs, Outputs
from omnijet.runtime.backends.trt.state import EngineState
from omnijet.runtime.backends.trt.work import Work


class EngineBound:
    """Satisfies the protocol `Bound`; all arrays are zeros at first, whoever had them before.

    Args:
        works: where the work goes when neither this object nor an array of it is there any longer.
        key: under which.
    """

    def __init__(
        self, work: Work, works: Pool[Work], key: Hashable, state: EngineState | None
    ) -> None:
        lease = _Lease(state)
        weakref.finalize(lease, works.give, work, key).atexit = False
        work.sent.clear()
        work.brought.clear()
        self._work, self._state = work, state
        self.inputs = Inputs(work.sent, lease)
        self.outputs = Outputs(work.brought, lease, work.fetch)

    def run(self) -> None:
        """Raises `OmnijetError` if CUDA or the library fails."""
        state = self._state
        self._work.run(self.inputs, self.outputs, None if state is None else state.caches)


class _Lease:
    """What arrays hold on to: the work is in use, and so are the caches that it works on."""

    def __init__(self, state: EngineState | None) -> None:
        self.state = state
