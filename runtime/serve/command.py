"""`omnijet serve BUNDLE`: answers over HTTP and WebSocket."""

from __future__ import annotations

import os
import signal
import sys
from argparse import ArgumentParser, Namespace
from contextlib import ExitStack
from pathlib import Path

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.commands.console import say
from omnijet.runtime.commands.opening import opened
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.printable import printable, show
from omnijet.runtime.serve.app import make_app
from omnijet.runtime.serve.config import ServeConfig
from omnijet.runtime.serve.heart import Heart
from omnijet.runtime.serve.listening import listening
from omnijet.runtime.serve.server import Server, heeding
from omnijet.runtime.serve.service_manager import STOPPING, ServiceManager
from omnijet.runtime.serve.settings import SETTINGS, add_settings, configured
from omnijet.runtime.serve.toml import read_toml, to_toml
from omnijet.runtime.serve.turn_log import TurnLog
from omnijet.runtime.talk.heap import keep_heap_small

INTERRUPTED = 130
STUCK_S = 60.0
"""A turn that goes on so long after its time was over hangs in a call of its device."""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("bundle", nargs="?", metavar="BUNDLE", help="folder of the bundle")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings as TOML")
    parser.add_argument(
        "--print-config", action="store_true", help="print all settings as TOML, and end"
    )
    add_settings(parser)


def run(args: Namespace) -> int:
    """Serves until a signal comes; SIGTERM ends it well."""
    config = settings_of(args)
    if args.print_config:
        show(to_toml(config), sys.stdout)
        return 0
    if not config.bundle:
        raise OmnijetError(
            "no bundle is named", expected="omnijet serve BUNDLE",
            fix="name its folder, or set OMNIJET_BUNDLE",
        )  # fmt: skip
    if config.replicas or config.ray:
        from omnijet.runtime.serve.replicas.run import serve_replicas  # who has no Ray needs none

        return serve_replicas(config)
    keep_heap_small()
    return _serve(config)


def settings_of(args: Namespace) -> ServeConfig:
    """Returns the settings that flags, environment and file give together.

    Raises:
        OmnijetError: the file cannot be read; or every name and value that is unusable.
    """
    flags = {name: getattr(args, name, None) for name in SETTINGS}
    file = {} if args.config is None else read_toml(args.config)
    return configured(flags, os.environ, file, printable(str(args.config)))


def _serve(config: ServeConfig) -> int:
    manager = ServiceManager.of(os.environ)
    listener = listening(config.host, config.port)
    with ExitStack() as stack:
        stack.enter_context(listener)
        omni = stack.enter_context(opened(_backend(config), config.threads))
        if not omni.bundle.speaks():
            say("this bundle has no voice: it answers in text only")
        log = TurnLog(sys.stderr, config.log_content)
        stack.callback(log.close)
        with Assistant(omni, config.limits(), log, config.log_content) as assistant:
            app = make_app(config, assistant)
            server, loading = Server(config, app), app.state.loading
            loading.when_failed(server.stop)
            address = config.url(listener.getsockname()[1])
            say(f"omnijet serve: page at {address}/, API at {address}/v1")
            if not config.is_loopback and config.api_key is None:
                say("whoever reaches this address can use the model: see --api-key-file")

            heart = Heart(
                manager, lambda: loading.is_ready,
                lambda: assistant.overdue_s < STUCK_S, f"answers at {address}",
            )  # fmt: skip
            server.watch(heart)

            def end(seconds: float) -> None:
                manager.tell(STOPPING, "STATUS=lets replies end")
                loading.stop()
                assistant.drain(seconds)

            with heeding(server.stop):
                server.until_stopped(listener, end)
            if loading.error is not None:
                raise loading.error
    return INTERRUPTED if server.stopped_by in (signal.SIGINT, signal.SIGHUP) else 0


def _backend(config: ServeConfig) -> Namespace:
    return Namespace(bundle=Path(config.bundle), provider=config.provider, engines=config.engines)
