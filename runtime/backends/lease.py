"""KV caches and the work bound to them, lent together.

Captured work holds the addresses of its caches, so it is of use with these caches only: both are
made, lent and given back as one. Caches themselves know nothing of work.
"""

from __future__ import annotations

import weakref
from collections.abc import Hashable
from typing import Generic, TypeVar

from omnijet.runtime.backends.pool import Pool

CachesT = TypeVar("CachesT")
WorkT = TypeVar("WorkT")


class Workspace(Generic[CachesT, WorkT]):
    """The KV caches of one sequence, and the idle work that is bound to them."""

    def __init__(self, caches: CachesT, works: Pool[WorkT]) -> None:
        self.caches, self.works = caches, works


class Lease(Generic[CachesT, WorkT]):
    """A workspace in use: by a state, and by whatever was bound with that state.

    When nothing refers to the lease any longer, its workspace returns to the pool.

    Args:
        idle: the pool of workspaces that nobody uses.
        key: the key in that pool.
    """

    def __init__(
        self,
        workspace: Workspace[CachesT, WorkT],
        idle: Pool[Workspace[CachesT, WorkT]],
        key: Hashable = None,
    ) -> None:
        self.caches, self.works = workspace.caches, workspace.works
        self._return = weakref.finalize(self, idle.give, workspace, key)
        self._return.atexit = False

    def discard(self) -> None:
        """Lets the workspace go when nobody uses it any longer, instead of returning it."""
        self._return.detach()
