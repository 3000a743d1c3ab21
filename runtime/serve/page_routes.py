"""The page at `/`: files that lie in this package, and no others."""

from __future__ import annotations

import hashlib
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""What lies in the folder and is served, by the end of its name."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""What a browser lets the page do: nothing from another host, nothing written into the page."""

HEADERS = {
    "Cache-Control": "no-cache",  # kept, but asked for again: a new version shows at once
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(self), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page_routes() -> list[BaseRoute]:
    """Returns the routes `/` and `/page/NAME`, one for each file.

    The files are read here, once. No path is built from what a client asks for.
    """
    routes: list[BaseRoute] = []
    for name, content in sorted(_files().items()):
        path = "/" if name == "index.html" else f"/page/{name}"
        kind = TYPES["." + name.rpartition(".")[2]]
        routes.append(Route(path, _Asset(content, kind), methods=["GET"]))
    return routes


def _files() -> dict[str, bytes]:
    folder = resources.files("omnijet.runtime.serve") / "page"
    return {
        entry.name: entry.read_bytes()
        for entry in folder.iterdir()
        if entry.is_file() and entry.name.endswith(tuple(TYPES))
    }


class _Asset:
    """An ASGI endpoint that answers GET and HEAD with one file, or with 304 if it is known."""

    def __init__(self, content: bytes, media_type: str) -> None:
        self._content, self._type = content, media_type
        self._tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer(Request(scope))(scope, receive, send)

    def _answer(self, request: Request) -> Response:
        headers = {**HEADERS, "ETag": self._tag}
        known = request.headers.get("if-none-match", "")
        if self._tag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
            return Response(status_code=304, headers=headers)
        return Response(self._content, headers=headers, media_type=self._type)
