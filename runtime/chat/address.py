"""The address of a realtime server, and the key to it."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.bounded import BadFile, read_bounded, utf8

PATH = "/v1/realtime"
KEY_VARIABLE = "OMNIJET_API_KEY"
_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_MOST_KEY_BYTES = 4096


def websocket_address(server: str, model: str | None = None) -> str:
    """Returns the address of the socket: of `http://host:8000`, `ws://host:8000/v1/realtime`.

    Args:
        server: a URL of http, https, ws or wss, with or without the path.
        model: what is asked of a server that has several.

    Raises:
        OmnijetError: it is no such URL.
    """
    try:
        parts = urlsplit(server)
        is_address = bool(parts.hostname) and parts.scheme in _SCHEMES
        _ = parts.port  # raises where it is no number
    except ValueError:
        is_address = False
    if not is_address:
        raise OmnijetError(
            "the address of the server is unusable",
            where="--server",
            expected="a URL, for example http://localhost:8000",
            got=server,
        )
    path = parts.path.rstrip("/")
    if not path.endswith(PATH):
        path = path.removesuffix("/v1") + PATH
    query = [*parse_qsl(parts.query), *([("model", model)] if model else [])]
    return urlunsplit((_SCHEMES[parts.scheme], parts.netloc, path, urlencode(query), ""))


def is_exposed(address: str) -> bool:
    """Returns whether what is sent there can be read on the way: no TLS, and another machine."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    if parts.scheme == "wss" or host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


def api_key(file: Path | None) -> str | None:
    """Returns the key in a file, or else in `OMNIJET_API_KEY`; None if there is none.

    Raises:
        OmnijetError: the file holds no key.
        OSError: the file cannot be read.
    """
    if file is None:
        key, where = os.environ.get(KEY_VARIABLE, ""), KEY_VARIABLE
        if not key.strip():
            return None
    else:
        where = str(file)
        try:
            key = utf8(read_bounded(file, _MOST_KEY_BYTES))
        except BadFile as error:
            raise _no_key(where, str(error)) from error
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise _no_key(where, "nothing" if not key else "other characters")
    return key


def _no_key(where: str, got: str) -> OmnijetError:
    return OmnijetError(
        "there is no usable API key", where=where, expected="one line of ASCII letters", got=got
    )
