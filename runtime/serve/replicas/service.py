"""Runs replicas until a signal comes, and lets them end well."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from omnijet.runtime.backends.choose import BACKENDS
from omnijet.runtime.bundle.checked import require_as_checked
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.cluster.join import LOCAL, joined
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.serve.config import ServeConfig
from omnijet.runtime.serve.replicas import proxy
from omnijet.runtime.serve.replicas.share import Share, share_of

APP, DEPLOYMENT = "omnijet", "Replica"
ROUTER = "omnijet.runtime.serve.replicas.router.SessionRouter"
MANY = 100_000
"""Requests that Ray lets a replica have: more than our own limits, whose refusals say more."""
LOOK_S = 2.0
"""Time between two looks at which replicas run."""
GRACE_S = 15.0
"""A replica ends within so long after its last reply."""
_QUIET = {"log_level": "WARNING", "enable_access_log": False}
Tell = Callable[[str], None]

_log = logging.getLogger(__name__)


class Service:
    """Replicas on a cluster. `stop` may be called from any thread, and from a handler of signals.

    Args:
        config: `replicas` and `ray` say how many, and where; the port is none that is in use.
        tell: shows a line to whoever runs the command.
    """

    def __init__(self, config: ServeConfig, tell: Tell) -> None:
        self._config, self._tell = config, tell
        self._stopped = threading.Event()
        self._address = config.ray or LOCAL
        self.stopped_by: int | None = None

    def stop(self, number: int = 0) -> None:
        """Ends the service: no new request is taken, and the replies that run may end."""
        self.stopped_by = number or None
        self._stopped.set()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Has the replicas run during the block, and lets their replies end after it.

        Raises:
            OmnijetError: the bundle or the cluster cannot be used, or the replicas do not start.
        """
        config = self._config
        require_as_checked(Bundle.open(config.bundle))
        extra = proxy_environment(config)
        os.environ.setdefault("RAY_COLOR_PREFIX", "0")  # what replicas log is read by programs
        with joined(self._address, "replicas", extra, log_to_driver=True):
            serve: Any = import_module("ray.serve")
            logging.getLogger("ray.serve").setLevel(logging.WARNING)
            _require_no_other(serve, self._address)
            share = _share(config)
            serve.start(
                proxy_location="HeadOnly" if self._is_alone else "EveryNode",
                http_options={"host": config.host, "port": config.port},
                logging_config=_QUIET,
                controller_options={"runtime_env": {"env_vars": extra}},
            )
            try:
                self._deploy(serve, share)
                yield
                self._drain(serve)
            finally:
                serve.shutdown()

    def until_stopped(self, look: Callable[[int], None] = lambda count: None) -> None:
        """Waits for `stop`, and tells when replicas end or come back.

        Args:
            look: told every `LOOK_S` how many replicas run.
        """
        serve: Any = import_module("ray.serve")
        before = self._config.replicas
        while not self._stopped.wait(LOOK_S):
            count = _running(serve)
            look(count)
            if count != before:
                self._tell(f"{count} of {self._config.replicas} replicas run")
            before = count

    @property
    def _is_alone(self) -> bool:
        return self._address == LOCAL

    def _deploy(self, serve: Any, share: Share) -> None:
        from omnijet.runtime.serve.replicas.replica import Replica

        config = self._config
        deployment = serve.deployment(
            serve.ingress()(Replica),
            name=DEPLOYMENT,
            num_replicas=config.replicas,
            ray_actor_options={"num_cpus": share.cores, "num_gpus": share.gpus},
            max_ongoing_requests=MANY,
            health_check_period_s=5,
            graceful_shutdown_wait_loop_s=0.1,
            graceful_shutdown_timeout_s=config.drain_s + GRACE_S,
            max_constructor_retry_count=1,
            logging_config=_QUIET,
            request_router_config={"request_router_class": ROUTER},
        )
        try:
            serve.run(deployment.bind(config, share, self._is_alone), name=APP, route_prefix="/")
        except RuntimeError as error:
            raise _not_started(serve, error) from error

    def _drain(self, serve: Any) -> None:
        seconds = self._config.drain_s
        serve.get_app_handle(APP).broadcast("drain", seconds).results(
            timeout_s=seconds + GRACE_S, return_exceptions=True
        )
        serve.delete(APP)


def proxy_environment(config: ServeConfig) -> dict[str, str]:
    """Returns the environment of the processes that requests come in at."""
    return {
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": proxy.CALLBACK,
        proxy.VARIABLE: str(config.body_bytes),
        "RAY_DEDUP_LOGS": "0",  # a line of a turn may be like another
    }


def runs_on_gpu(config: ServeConfig) -> bool:
    """Returns whether each replica needs a GPU."""
    if config.engines is not None:
        return True
    return any(row.on_gpu for row in BACKENDS if row.name == config.provider)


def _share(config: ServeConfig) -> Share:
    ray: Any = import_module("ray")
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return share_of(nodes, config.replicas, runs_on_gpu(config))


def _running(serve: Any) -> int:
    app = serve.status().applications.get(APP)
    found = None if app is None else app.deployments.get(DEPLOYMENT)
    return 0 if found is None else int(found.replica_states.get("RUNNING", 0))


def _require_no_other(serve: Any, address: str) -> None:
    """Refuses a cluster on which Ray Serve runs: its entrance and its settings are another's.

    Raises:
        OmnijetError: Ray Serve runs there.
    """
    context: Any = import_module("ray.serve.context")
    if context._get_global_client(raise_if_no_controller_running=False) is not None:
        raise OmnijetError(
            "Ray Serve runs on this cluster",
            where=address,
            expected="a cluster where this command starts it",
            got=f"the applications {sorted(serve.status().applications)}",
            fix="end it with `serve shutdown`, or use another cluster",
        )


def _not_started(serve: Any, error: RuntimeError) -> OmnijetError:
    app = serve.status().applications.get(APP)
    said = "" if app is None else "\n".join(one.message for one in app.deployments.values())
    found = re.findall(r"^\S*(?:Error|Exception): .*$", said, re.MULTILINE)
    return OmnijetError(
        "the replicas do not start",
        got=found[-1] if found else str(error).splitlines()[0],
        fix="see that the bundle runs with `omnijet serve` without --replicas on each machine",
    )
