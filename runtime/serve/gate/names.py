"""Which names a server is called by, and which web pages may call it."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from ipaddress import ip_address

from starlette.datastructures import Headers

from omnijet.runtime.serve.config import LOOPBACK_NAMES, ServeConfig
from omnijet.runtime.serve.faults import ApiError

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]/@\s]+))(?::(\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class Names:
    """The names of a server, and the origins of pages that may call it.

    A page of anybody can make its own name lead to an address of ours (DNS rebinding): the browser
    then takes the server for a part of that page. So a server without a key answers to names that
    nobody else has; with a key, which such a page does not have, one that other machines reach
    answers to any name unless some are listed.
    """

    config: ServeConfig

    def check_host(self, headers: Headers) -> None:
        """Raises `ApiError` unless the server is called by a name of its own."""
        given = headers.get("host", "")
        name = host_name(given)
        if name is None:
            raise ApiError(400, "the header Host names no machine", code="bad_host")
        if not self._is_ours(name):
            raise ApiError(
                403,
                f"this server is not called {name!r}: see --hosts of `omnijet serve`",
                code="unknown_host",
            )

    def _is_ours(self, name: str) -> bool:
        listed = {one.casefold() for one in self.config.hosts}
        if name in LOOPBACK_NAMES or name in listed or "*" in listed:
            return True
        if self.config.is_loopback:
            return _is_loopback(name)
        if not listed and self.config.api_key is not None:
            return True
        own = socket.gethostname().casefold()
        return _is_address(name) or name in (own, f"{own}.local")

    def allowed_origin(self, headers: Headers) -> str | None:
        """Returns what CORS answers; None if nobody of a foreign page asks.

        Raises:
            ApiError: a page asks that may not.
        """
        origin = headers.get("origin")
        if origin is None:
            return None
        if "*" in self.config.cors:
            return "*"
        if origin.casefold() in {one.rstrip("/").casefold() for one in self.config.cors}:
            return origin
        host = headers.get("host", "").casefold()
        # behind a proxy the page has https, and we do not see that
        if origin.casefold() in (f"http://{host}", f"https://{host}"):
            return None
        raise ApiError(
            403, f"pages of {origin[:200]} may not call this server: see --cors", code="bad_origin"
        )


def host_name(header: str) -> str | None:
    """Returns the name in a header `Host`, without its port; None if it is none."""
    found = _HOST.fullmatch(header.strip())
    if found is None:
        return None
    return (found[1] or found[2]).casefold().rstrip(".") or None


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(name: str) -> bool:
    return _is_address(name) and ip_address(name).is_loopback
