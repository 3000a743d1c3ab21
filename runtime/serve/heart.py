"""The signs of life of a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from omnijet.runtime.serve.service_manager import ALIVE, READY, ServiceManager

LOOK_S = 0.1  # between two looks at whether the graphs are loaded


class Heart:
    """Tells a service manager that a server is ready, and then that it lives.

    `beat` runs on the loop that answers requests, so that a loop that is blocked falls silent, and
    the manager restarts the server.

    Args:
        is_ready: whether requests are answered.
        is_well: whether what answers them works. It is asked on the loop and must not block.
        status: what is shown of a server that is ready.
    """

    def __init__(
        self,
        manager: ServiceManager,
        is_ready: Callable[[], bool],
        is_well: Callable[[], bool],
        status: str = "",
    ) -> None:
        self._manager, self._is_ready, self._is_well = manager, is_ready, is_well
        self._status = status

    async def beat(self) -> None:
        """Beats until it is cancelled."""
        self._manager.tell("STATUS=loads the graphs")
        while not self._is_ready():
            await asyncio.sleep(LOOK_S)
        self._manager.tell(READY, f"STATUS={self._status}")
        if self._manager.watchdog_s is None:
            return
        while True:
            if self._is_well():
                self._manager.tell(ALIVE)
            await asyncio.sleep(self._manager.beat_s)
