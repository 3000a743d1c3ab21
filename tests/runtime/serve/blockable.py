"""A server without a model, whose loop `/block` blocks. Started by tests, as a service is."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from omnijet.runtime.serve.config import ServeConfig
from omnijet.runtime.serve.heart import Heart
from omnijet.runtime.serve.listening import listening
from omnijet.runtime.serve.server import Server
from omnijet.runtime.serve.service_manager import ServiceManager


async def health(request: Request) -> Response:
    return PlainTextResponse("ok")


async def block(request: Request) -> Response:
    time.sleep(600)
    return PlainTextResponse("late")


def main() -> None:
    """Serves until a signal comes; prints its port."""
    app = Starlette(routes=[Route("/health", health), Route("/block", block)])
    listener = listening("127.0.0.1", 0)
    print(listener.getsockname()[1], flush=True)
    server = Server(ServeConfig(drain_s=0), app)
    # a thread that works is no sign of life
    threading.Thread(target=lambda: [time.sleep(0.01) for _ in iter(int, 1)], daemon=True).start()
    server.watch(Heart(ServiceManager.of(os.environ), lambda: True, lambda: True, "answers"))
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    server.until_stopped(listener, lambda seconds: None)
    sys.exit(0)


if __name__ == "__main__":
    main()
