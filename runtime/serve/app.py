"""The ASGI application of an assistant: the same under uvicorn and under Ray Serve."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.serve.bridged import Hands
from omnijet.runtime.serve.chat.endpoint import ChatEndpoint
from omnijet.runtime.serve.config import ServeConfig
from omnijet.runtime.serve.faults import ApiError
from omnijet.runtime.serve.gate.gate import Gate
from omnijet.runtime.serve.loading import Loading
from omnijet.runtime.serve.metrics import Metrics
from omnijet.runtime.serve.models import metrics_route, model_name, model_routes
from omnijet.runtime.serve.page_routes import page_routes
from omnijet.runtime.serve.realtime_socket import RealtimeSocket
from omnijet.runtime.serve.speech import SpeechEndpoint
from omnijet.runtime.serve.transcriptions import TranscriptionEndpoint

_OPEN = ("/health", "/ready")
READERS = 8  # requests that are read while the queue is full, to be refused
_FORM = "/v1/audio/transcriptions"


def make_app(config: ServeConfig, assistant: Assistant) -> Starlette:
    """Returns the application.

    When it starts (ASGI's lifespan) it begins to load the graphs; `app.state.loading` says how far
    it is. Requests that come before wait for the graphs that they need.

    Args:
        config: settings of the server.
        assistant: who answers; `config.limits()` are its limits. Whoever calls closes it.
    """
    name, loading = model_name(config, assistant), Loading(assistant.omni)
    page, metrics = page_routes(), Metrics()
    metrics.watch(assistant)
    hands = Hands(config.turns + config.waiting + READERS)
    routes: list[BaseRoute] = [
        Route("/v1/chat/completions", ChatEndpoint(config, assistant, name, hands).__call__,
              methods=["POST"]),
        Route("/v1/audio/speech", SpeechEndpoint(config, assistant, name, hands).__call__,
              methods=["POST"]),
        Route(_FORM, TranscriptionEndpoint(assistant, name, hands).__call__, methods=["POST"]),
        WebSocketRoute("/v1/realtime", RealtimeSocket(assistant, name, config.preset).__call__),
        *model_routes(name, assistant, loading),
        metrics_route(metrics),
        *page,
    ]  # fmt: skip

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        loading.start()
        yield
        loading.stop()

    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={HTTPException: _told},
        middleware=[Middleware(Gate, config, _open_paths(config, page), frozenset({_FORM}))],
    )
    app.state.loading, app.state.assistant = loading, assistant
    return app


def _open_paths(config: ServeConfig, page: Sequence[BaseRoute]) -> Callable[[str], bool]:
    """Returns whether a path needs no key: what says nothing of anybody, and the page itself."""
    open_ = {*_OPEN, *(["/metrics"] if config.metrics_open else [])}
    open_ |= {route.path for route in page if isinstance(route, Route)}
    folders = tuple(f"{route.path}/" for route in page if isinstance(route, Mount))
    return lambda path: path in open_ or (bool(folders) and path.startswith(folders))


async def _told(request: Request, error: Exception) -> Response:
    """Tells of what no route takes."""
    assert isinstance(error, HTTPException)
    words = {404: f"there is nothing at {request.url.path[:200]}",
             405: f"{request.method} is not for {request.url.path[:200]}"}  # fmt: skip
    message = words.get(error.status_code, error.detail)
    return ApiError(error.status_code, message, headers=dict(error.headers or {})).response()
