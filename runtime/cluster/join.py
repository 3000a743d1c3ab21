"""Joins a cluster of Ray, or starts one on this machine that only this user reaches.

Ray's own defaults open ports on every interface and report its use over the network. A cluster that
is started here listens on the loopback alone, takes a secret of its own that ends with it, and
reports nothing.
"""

from __future__ import annotations

import os
import secrets
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from omnijet.runtime.child.start import environment
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.leftovers import remove_folder, temporary_folder

LOCAL = "local"
"""The address that means: start a cluster on this machine."""
PREFIX = "omnijet-ray-"
LONGEST_FOLDER = 20
"""Bytes; Ray's sockets lie 86 deeper, and the name of a socket holds 107."""
LAST_SECONDS = 5.0
"""Processes of Ray have so long: they write while they end."""


@contextmanager
def joined(
    address: str, purpose: str, extra: Mapping[str, str] | None = None, **options: Any
) -> Iterator[None]:
    """Is connected to a cluster of Ray during the block.

    No process of a cluster that is started here imports modules of the current folder.

    Args:
        address: `ray://HOST:PORT`, `HOST:PORT`, `auto`, or `local` for a cluster on this machine,
            which ends with the block.
        purpose: what needs Ray, for errors: "trials on a cluster".
        extra: environment of the processes of a cluster that is started here.
        options: those of `ray.init`.

    Raises:
        OmnijetError: Ray is not installed, or nothing answers.
    """
    with temporary_folder(PREFIX, _parent()) as folder, ExitStack() as until_end:
        empty = folder / "empty"
        empty.mkdir()
        with _surroundings(empty, {**_privacy(address), **(extra or {})}):
            ray = _imported(purpose)
            until_end.callback(_remove, folder)
            if address == LOCAL:
                until_end.enter_context(_only_this_machine())
                options = {"include_dashboard": False, "_temp_dir": str(folder), **options}
            try:
                _require_listener(address)
                ray.init(address, **{"log_to_driver": False, "configure_logging": False, **options})
            except (OSError, ValueError, RuntimeError) as error:
                raise _unreachable(address, error) from error
        until_end.callback(ray.shutdown)
        yield


def _imported(purpose: str) -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise OmnijetError(
            f"{purpose} need Ray",
            expected="the extra [ray]",
            got=f"no module named {error.name}",
            fix='pip install "omnijet[ray]"',
        ) from error
    return ray


def _privacy(address: str) -> dict[str, str]:
    """Returns the environment of a cluster: nothing is reported, and a new one has a secret."""
    quiet = {"RAY_USAGE_STATS_ENABLED": "0"}
    if address != LOCAL:
        return quiet
    return {
        **quiet,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # what has Ray listen on the loopback only
    }


@contextmanager
def _only_this_machine() -> Iterator[None]:
    """Has this process know what `_privacy` says, although Ray may have been imported before."""
    constants: Any = import_module("ray._private.ray_constants")
    compiled: Any = import_module("ray._raylet")

    def read_environment(reaches_others: bool) -> None:
        constants.ENABLE_RAY_CLUSTER = reaches_others
        compiled.Config.initialize("")
        compiled.AuthenticationTokenLoader.instance().reset_cache()

    read_environment(reaches_others=False)
    try:
        yield
    finally:
        read_environment(reaches_others=True)


def _parent() -> Path | None:
    """Returns where Ray's folder is made; None: among the temporary files, if names fit there."""
    length = len(os.fsencode(tempfile.gettempdir()))
    return None if length <= LONGEST_FOLDER else Path("/tmp")


def _remove(folder: Path) -> None:
    """Removes the folder when the last process of Ray has left it."""
    deadline = time.monotonic() + LAST_SECONDS
    while folder.exists() and time.monotonic() < deadline:
        remove_folder(folder)
        time.sleep(0.05)


def _unreachable(address: str, error: Exception) -> OmnijetError:
    return OmnijetError(
        "the Ray cluster cannot be reached",
        where=address,
        expected="the address of a running cluster",
        got=(str(error).splitlines() or [type(error).__name__])[0],
        fix="start it with `ray start --head`, or leave --ray out",
    )


@contextmanager
def _surroundings(empty: Path, extra: Mapping[str, str]) -> Iterator[None]:
    """Makes an empty folder the current one, and has new processes of Python see no other.

    Ray starts processes with this environment, and puts the current folder on their path.
    """
    folder, before = os.getcwd(), dict(os.environ)
    os.environ.update({**environment(), **extra})
    os.chdir(empty)
    try:
        yield
    finally:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(before)


def _require_listener(address: str) -> None:
    """Checks that something listens, because Ray waits for minutes and then ends the process.

    Raises:
        OSError: nothing listens.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=5).close()
