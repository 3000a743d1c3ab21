"""What a server says of itself: its models, that it is alive and ready, its figures."""

from __future__ import annotations

import time
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.serve.config import ServeConfig
from omnijet.runtime.serve.faults import ApiError, json_response
from omnijet.runtime.serve.loading import Loading
from omnijet.runtime.serve.metrics import Metrics
from omnijet.runtime.speech.presets import PRESETS


def model_name(config: ServeConfig, assistant: Assistant) -> str:
    """Returns what clients call the model: as configured, or as its folder is called."""
    return config.model or Path(assistant.omni.bundle.folder).resolve().name or "omnijet"


def model_routes(name: str, assistant: Assistant, loading: Loading) -> list[Route]:
    """Returns the routes of models and health."""
    bundle = assistant.omni.bundle
    card = {
        "id": name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "omnijet",
        "voices": list(bundle.manifest.voices) if bundle.speaks() else [],
        "presets": list(PRESETS) if bundle.speaks() else [],
        "context_length": assistant.omni.model.context_limit,
    }

    async def listed(request: Request) -> Response:
        return json_response({"object": "list", "data": [card]})

    async def one(request: Request) -> Response:
        asked = request.path_params["name"]
        if asked != name:
            raise ApiError(404, f"there is no model {asked[:100]!r} here, but {name!r}", "model",
                           "model_not_found")  # fmt: skip
        return json_response(card)

    async def health(request: Request) -> Response:
        return json_response({"status": "ok"})

    async def ready(request: Request) -> Response:
        if loading.is_ready:
            return json_response({"status": "ready"})
        if loading.is_stopped:
            raise ApiError(503, "the server ends", code="closing", headers={"Retry-After": "5"})
        if loading.has_failed:
            raise ApiError(503, "the graphs cannot be loaded", code="broken")
        raise ApiError(
            503, "the graphs are being loaded", code="loading", headers={"Retry-After": "1"}
        )

    return [
        Route("/v1/models", listed, methods=["GET"]),
        Route("/v1/models/{name:path}", one, methods=["GET"]),
        Route("/health", health, methods=["GET"]),
        Route("/ready", ready, methods=["GET"]),
    ]


def metrics_route(metrics: Metrics) -> Route:
    """Returns the route of the figures, as Prometheus reads them."""

    def figures(request: Request) -> Response:  # in a thread: sensors take their time
        page, kind = metrics.render()
        return Response(page, headers={"Content-Type": kind})

    return Route("/metrics", figures)
