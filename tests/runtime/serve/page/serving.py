"""A server of an ASGI application in this process, for a browser beside it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

HOST = "127.0.0.1"
STARTS_S = ENDS_S = 30.0


@contextmanager
def serving(app: ASGIApp, port: int = 0) -> Iterator[int]:
    """Serves until the block ends; yields the port, a free one unless it is given."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOST, port))
    server = _Server(
        uvicorn.Config(
            app, log_level="critical", ws="websockets-sansio", timeout_graceful_shutdown=1
        )
    )
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listener]}, name="omnijet-page-server", daemon=True
    )
    thread.start()
    try:
        assert server.begun.wait(STARTS_S), "the server does not start"
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(ENDS_S)
        listener.close()


class _Server(uvicorn.Server):
    """A server that says when it listens, and leaves signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.begun = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.begun.set()
