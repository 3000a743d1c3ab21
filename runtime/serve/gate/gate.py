"""The gate of the server: an ASGI middleware that every request passes."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from omnijet.runtime.serve.config import ServeConfig
from omnijet.runtime.serve.faults import ApiError, api_error
from omnijet.runtime.serve.gate.body import Bodies, BoundedBody
from omnijet.runtime.serve.gate.key import require_key
from omnijet.runtime.serve.gate.names import Names

_log = logging.getLogger(__name__)

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; worker-src 'self'; font-src 'self'; manifest-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "permissions-policy": "microphone=(self), camera=(self)",
    "cross-origin-opener-policy": "same-origin",
}
_EXPOSED = "x-request-id, retry-after"
_HEADER_NAMES = re.compile(r"[A-Za-z0-9, _-]{0,1000}")
_JSON = "application/json"
_FORM = "multipart/form-data"


class Gate:
    """Refuses what may not pass, and makes an answer of every fault.

    Args:
        is_open: whether a path needs no key.
        forms: the paths that take forms; all others take JSON only, so that no page can send
            something without the browser asking first.
    """

    def __init__(
        self,
        app: ASGIApp,
        config: ServeConfig,
        is_open: Callable[[str], bool],
        forms: frozenset[str] = frozenset(),
    ) -> None:
        self._app, self._config, self._is_open, self._forms = app, config, is_open, forms
        self._names, self._bodies = Names(config), Bodies(config)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on: an ASGI application."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer(send, f"req_{secrets.token_hex(8)}")
        scope.setdefault("state", {})["request_id"] = answer.id
        headers, body = Headers(scope=scope), None
        try:
            self._names.check_host(headers)
            answer.origin = self._names.allowed_origin(headers)
            if _is_preflight(scope, headers):
                await _preflight(headers)(scope, receive, answer.send)
                return
            if not self._is_open(scope["path"]):
                require_key(self._config.api_key, headers, is_socket=False)
            self._check_type(scope, headers)
            body = BoundedBody(self._bodies, headers, receive)
            await self._app(scope, body, answer.send)
        except ClientDisconnect:
            pass  # in the middle of its request: nobody waits for an answer
        except Exception as error:
            fault = api_error(error)
            if fault.status == 500:
                _log.exception("request %s failed", answer.id)
            if answer.has_begun:
                raise
            await fault.response()(scope, receive, answer.send)
        finally:
            if body is not None:
                body.close()

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        try:
            self._names.check_host(headers)
            self._names.allowed_origin(headers)
            if not self._is_open(scope["path"]):
                require_key(self._config.api_key, headers, is_socket=True)
        except ApiError as fault:
            await receive()  # the opening
            if "websocket.http.response" in scope.get("extensions", {}):
                await fault.response()(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008, "reason": fault.message[:100]})
            return
        await self._app(scope, receive, send)

    def _check_type(self, scope: Scope, headers: Headers) -> None:
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return
        given = headers.get("content-type", "").partition(";")[0].strip().casefold()
        wanted = _FORM if scope["path"] in self._forms else _JSON
        if given != wanted:
            raise ApiError(
                415, f"the header Content-Type must be {wanted}, not {given[:80]!r}",
                code="unsupported_media_type",
            )  # fmt: skip


class _Answer:
    """Adds headers to an answer."""

    def __init__(self, send: Send, id: str) -> None:
        self._send, self.id = send, id
        self.origin: str | None = None
        self.has_begun = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            headers["x-request-id"] = self.id
            headers.setdefault("cache-control", "no-store")
            headers.add_vary_header("Origin")
            if self.origin is not None:
                headers["access-control-allow-origin"] = self.origin
                headers["access-control-expose-headers"] = _EXPOSED
            else:
                headers.setdefault("cross-origin-resource-policy", "same-origin")
        await self._send(message)


def _is_preflight(scope: Scope, headers: Headers) -> bool:
    return scope["method"] == "OPTIONS" and "access-control-request-method" in headers


def _preflight(headers: Headers) -> Response:
    """Answers a browser that asks whether a page may send what it wants to."""
    allowed = {"Access-Control-Allow-Methods": "GET, POST", "Access-Control-Max-Age": "600"}
    wanted = headers.get("access-control-request-headers", "")
    if _HEADER_NAMES.fullmatch(wanted):
        allowed["Access-Control-Allow-Headers"] = wanted
    if headers.get("access-control-request-private-network") == "true":
        allowed["Access-Control-Allow-Private-Network"] = "true"
    return Response(status_code=204, headers=allowed)
