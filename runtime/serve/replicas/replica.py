"""One replica: a model, its assistant and the server's application in a process of Ray."""

from __future__ import annotations

import asyncio
import os
import sys
from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.commands.opening import opened
from omnijet.runtime.serve.app import make_app
from omnijet.runtime.serve.config import ServeConfig
from omnijet.runtime.serve.replicas.exposition import Page, joined_pages
from omnijet.runtime.serve.replicas.front import METRICS, Answer, Front, Headers
from omnijet.runtime.serve.replicas.loopback import listen_here_only
from omnijet.runtime.serve.replicas.share import Share
from omnijet.runtime.serve.turn_log import TurnLog
from omnijet.runtime.talk.heap import keep_heap_small

METRICS_S = 5.0
"""How long the page of metrics waits for the other replicas."""
LAST_BYTES_S = 5.0
"""How long an answer may take to reach its client after its turn has ended."""


class Replica:
    """A deployment of Ray Serve. All its methods run on the replica's event loop.

    Args:
        config: of the server.
        share: what this replica may use.
        is_alone: whether the cluster is this machine.
    """

    def __init__(self, config: ServeConfig, share: Share, is_alone: bool) -> None:
        from ray import serve

        if is_alone:
            listen_here_only()
        keep_heap_small()
        context = serve.get_replica_context()
        self._name, self._own = context.replica_tag, (context.deployment, context.app_name)
        self._config = config
        self._until_end = ExitStack()
        backend = Namespace(
            bundle=Path(config.bundle), provider=config.provider, engines=config.engines
        )
        omni = self._until_end.enter_context(opened(backend, share.threads(config.threads)))
        omni.model.load()  # requests come when this constructor is done
        log = TurnLog(sys.stderr, config.log_content)  # Ray leads it to whoever runs the command
        self._until_end.callback(log.close)
        self._assistant = self._until_end.enter_context(
            Assistant(omni, config.limits(), log, config.log_content)
        )
        self._front = Front(make_app(config, self._assistant), self._name, self._everybody)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Returns the application: Ray calls it."""
        return self._front

    async def check_health(self) -> None:
        """Raises if the application says that it is not ready: Ray starts another replica then."""
        answer = await self._front.ask("/ready", [(b"host", b"localhost")])
        if answer.status != 200 and not self._is_draining:
            raise RuntimeError(f"not ready: {answer.body[:200]!r}")

    async def page(self, headers: Headers) -> tuple[str, Page]:
        """Returns the name of this replica and its metrics."""
        import ray

        answer = await self._front.ask(METRICS, headers)
        node = ray.get_runtime_context().get_node_id()
        return self._name, Page(os.getpid(), node, answer.body.decode())

    async def drain(self, seconds: float) -> None:
        """Takes on nothing more, lets replies end, and then ends the open conversations."""
        self._is_draining = True
        await asyncio.to_thread(self._assistant.drain, seconds)
        await self._front.until_idle(LAST_BYTES_S)
        self._front.end_sockets()

    def __del__(self) -> None:
        """Ends the model: Ray calls it when it ends the replica well."""
        self._until_end.close()

    _is_draining = False

    async def _everybody(self, own: Answer, headers: Headers) -> Answer:
        """Returns the metrics of all replicas; what this one refuses, all refuse."""
        if own.status != 200:
            return own
        from ray import serve

        handle: Any = serve.get_deployment_handle(*self._own)
        said = await handle.broadcast("page", headers).results_async(
            timeout_s=METRICS_S, return_exceptions=True
        )
        pages: dict[str, Page] = dict(one for one in said if isinstance(one, tuple))
        return Answer(200, own.headers, joined_pages(pages, self._config.replicas))
