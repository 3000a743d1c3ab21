"""Keeps the port that Ray Serve opens in each replica to this machine."""

from __future__ import annotations

from importlib import import_module
from typing import Any

MODULE, OPENS = "ray.serve._private.replica", "add_port_to_grpc_server"
EVERYWHERE, HERE = "[::]:0", "127.0.0.1:0"


def listen_here_only() -> None:
    """Has this process, a replica, listen at the loopback for its kind.

    Ray's other ports follow the address of the machine; this one is at every interface. Call it
    before the replica is ready.
    """
    module: Any = import_module(MODULE)
    opened = getattr(module, OPENS)

    def open_here(server: Any, address: str) -> Any:
        return opened(server, HERE if address == EVERYWHERE else address)

    setattr(module, OPENS, open_here)
