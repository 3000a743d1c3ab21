"""What `omnijet serve --replicas N` does."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

from omnijet.runtime.commands.console import say
from omnijet.runtime.serve.config import ServeConfig
from omnijet.runtime.serve.listening import listening
from omnijet.runtime.serve.replicas.service import Service
from omnijet.runtime.serve.server import heeding
from omnijet.runtime.serve.service_manager import ALIVE, READY, STOPPING, ServiceManager

INTERRUPTED = 130


def serve_replicas(config: ServeConfig) -> int:
    """Serves with replicas until a signal comes; SIGTERM ends it well.

    Raises:
        OmnijetError: the bundle, the address or the cluster cannot be used.
    """
    manager = ServiceManager.of(os.environ)
    with listening(config.host, config.port) as listener:  # Ray takes no free port by itself
        port = listener.getsockname()[1]
    config = replace(
        config, port=port, replicas=config.replicas or 1, bundle=os.path.abspath(config.bundle)
    )
    service = Service(config, say)
    with service.running(), heeding(service.stop):
        say(f"omnijet serve: page at {config.url()}/, API at {config.url()}/v1")
        if not config.is_loopback and config.api_key is None:
            say("whoever reaches this address can use the model: see --api-key-file")
        manager.tell(READY, f"STATUS=answers at {config.url()}")
        service.until_stopped(lambda count: manager.tell(ALIVE) if count else None)
        manager.tell(STOPPING, "STATUS=lets replies end")
    return INTERRUPTED if service.stopped_by in (signal.SIGINT, signal.SIGHUP) else 0
