"""The service manager that started this process, and what it is told (systemd's sd_notify(3))."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass

SOCKET, WATCHDOG, WATCHDOG_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
READY, STOPPING, ALIVE = "READY=1", "STOPPING=1", "WATCHDOG=1"


@dataclass(frozen=True, slots=True)
class ServiceManager:
    """Who is told that a service is ready, alive and ending. Threads: any thread may tell.

    Attributes:
        address: socket that words go to; "" if nobody started this process as a service.
        watchdog_s: seconds after which silence is taken for a fault; None: nobody watches.
    """

    address: str = ""
    watchdog_s: float | None = None

    @staticmethod
    def of(environment: MutableMapping[str, str]) -> ServiceManager:
        """Returns the manager that the variables name, and takes them away from children."""
        address = environment.pop(SOCKET, "")
        usec = environment.pop(WATCHDOG, "")
        pid = environment.pop(WATCHDOG_PID, "")
        if not address.startswith(("/", "@")):  # sd_notify(3): vsock is for virtual machines
            return ServiceManager()
        is_ours = pid in ("", str(os.getpid()))
        watches = is_ours and usec.isascii() and usec.isdigit() and int(usec) > 0
        return ServiceManager(address, int(usec) / 1e6 if watches else None)

    @property
    def beat_s(self) -> float:
        """Seconds between two signs of life: half of what is asked for would be enough."""
        return math.inf if self.watchdog_s is None else self.watchdog_s / 4

    def tell(self, *words: str) -> None:
        """Sends words such as `READY` or "STATUS=..."; a manager that does not hear is left."""
        if not self.address:
            return
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)  # a full queue must not stop a server
            try:
                sender.sendto("\n".join(words).encode(), address)
            except OSError:
                return
