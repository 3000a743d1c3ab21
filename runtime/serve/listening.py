"""The port that a server listens at."""

from __future__ import annotations

import errno
import os
import socket

from omnijet.runtime.errors import OmnijetError

BACKLOG = 1024


def listening(host: str, port: int) -> socket.socket:
    """Opens a port; from here on connections wait there.

    Args:
        port: 0 takes a free one.

    Raises:
        OmnijetError: the port is in use, or the address is none of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise _refused(host, port, error) from error
    made = socket.socket(family, kind, protocol)
    try:
        # a server that was ended leaves connections behind for a minute; a running one still
        # keeps the port to itself
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(BACKLOG)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise _refused(host, port, error) from error
    return made


def _refused(host: str, port: int, error: OSError) -> OmnijetError:
    fix = "choose another one with --host"
    if error.errno == errno.EADDRINUSE:
        fix = "end what listens there, or choose another port with --port"
    elif error.errno == errno.EACCES:
        fix = "choose a port from 1024 with --port"
    return OmnijetError(
        "the server cannot listen at this address",
        where=f"{host} port {port}",
        got=os.strerror(error.errno) if error.errno and error.errno > 0 else str(error),
        fix=fix,
    )
