"""Whether a client has the key of the server."""

from __future__ import annotations

import hmac
from collections.abc import Iterator

from starlette.datastructures import Headers

from omnijet.runtime.serve.faults import ApiError

IN_PROTOCOL = "openai-insecure-api-key."
"""What stands before the key where a browser opens a WebSocket: it can send no header."""


def require_key(key: str | None, headers: Headers, is_socket: bool) -> None:
    """Raises `ApiError` unless the client sent the key, or none is needed."""
    if key is None:
        return
    wanted = key.encode("utf-8")
    # all are compared: how long that takes says nothing of the key
    matches = [
        hmac.compare_digest(given.encode("utf-8", "replace"), wanted)
        for given in _given(headers, is_socket)
    ]
    if not any(matches):
        what = "the API key is wrong" if matches else "an API key is needed"
        raise ApiError(
            401,
            f"{what}: send the header Authorization: Bearer KEY",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )


def _given(headers: Headers, is_socket: bool) -> Iterator[str]:
    for value in headers.getlist("authorization"):
        scheme, _, rest = value.partition(" ")
        if scheme.casefold() == "bearer":
            yield rest.strip()
    if is_socket:
        for value in headers.getlist("sec-websocket-protocol"):
            for word in value.split(","):
                if word.strip().startswith(IN_PROTOCOL):
                    yield word.strip().removeprefix(IN_PROTOCOL)
