"""A server in this process, for tests: uvicorn in a thread, at a free port of the loopback.

with omnijet.load(bundle) as omni, Assistant(omni) as assistant, serving(assistant) as url:
httpx.get(f"{url}/health")
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.serve.app import make_app
from omnijet.runtime.serve.config import ServeConfig
from omnijet.runtime.serve.listening import listening
from omnijet.runtime.serve.server import Server

PATIENCE_S = 60.0
MODEL = "nano"


@contextmanager
def serving(
    assistant: Assistant, config: ServeConfig | None = None, **options: Any
) -> Iterator[str]:
    """Serves an assistant during the block; yields the base URL, without a slash at the end.

    Args:
        config: by default one whose model is called `MODEL`, and that ends replies at once when
            the block ends. The port of it is not looked at.
        options: further arguments of `make_app`.
    """
    config = config or ServeConfig(model=MODEL, drain_s=0)
    app = make_app(config, assistant, **options)
    listener = listening("127.0.0.1", 0)
    port = listener.getsockname()[1]
    server = Server(config, app)
    failed: list[BaseException] = []

    def serve() -> None:
        try:
            server.until_stopped(listener, lambda seconds: app.state.loading.stop())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=serve, name="test-server", daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not (server.started and app.state.loading.is_ready):
            assert thread.is_alive() and app.state.loading.error is None, failed
            assert time.monotonic() < deadline, "the server does not begin"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()
        server.stop()
        thread.join(PATIENCE_S)
        listener.close()
        assert not thread.is_alive(), "the server does not end"
    if failed:
        raise failed[0]
