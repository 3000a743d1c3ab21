"""Work in use: by whoever bound it, and by whoever still holds an array of it."""

from __future__ import annotations

import weakref
from collections.abc import Hashable

from omnijet.runtime.backends.pool import Pool
from omnijet.runtime.backends.trt.buffers import Inputs, Outputs
from omnijet.runtime.backends.trt.state import EngineLease
from omnijet.runtime.backends.trt.work import Work


class EngineBound:
    """Satisfies `omnijet.runtime.backends.protocol.Bound`; all arrays are zeros at first, whoever
    had them before.

    Args:
        works: the pool that the work returns to when neither this object nor an array of it is
            left.
        key: the key in that pool.
        lease: the caches that the work runs on, if the graph carries state.
    """

    def __init__(
        self, work: Work, works: Pool[Work], key: Hashable, lease: EngineLease | None
    ) -> None:
        user = _User(lease)
        weakref.finalize(user, works.give, work, key).atexit = False
        work.inputs.clear()
        work.outputs.clear()
        self._work, self._lease = work, lease
        self.inputs = Inputs(work.inputs, user)
        self.outputs = Outputs(work.outputs, user, work.fetch)

    def run(self) -> None:
        """Raises `OmnijetError` if CUDA or the library fails."""
        lease = self._lease
        self._work.run(self.inputs, self.outputs, None if lease is None else lease.caches)


class _User:
    """The object that every array keeps alive: while it lives, the work and its caches are in
    use.
    """

    def __init__(self, lease: EngineLease | None) -> None:
        self.lease = lease
