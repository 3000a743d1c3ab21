"""What a client is told when a request fails: the JSON that OpenAI's clients read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from omnijet.runtime.assistant.busy import Busy
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.printable import printable

_KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error",
          429: "rate_limit_error"}  # fmt: skip


@dataclass(slots=True)
class ApiError(Exception):
    """A request that is refused.

    Attributes:
        status: of HTTP.
        message: for people.
        param: the field that has the fault, as `messages[2].content[0].image_url.url`.
        code: a word for programs.
        headers: of the answer.
    """

    status: int
    message: str
    param: str | None = None
    code: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The sort of fault, as OpenAI has it."""
        return _KINDS.get(
            self.status, "invalid_request_error" if self.status < 500 else "server_error"
        )

    def body(self) -> dict[str, Any]:
        """Returns the object that is sent."""
        error = {
            "message": printable(self.message),
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        return {"error": error}

    def response(self) -> Response:
        """Returns the answer."""
        return json_response(self.body(), self.status, self.headers)


BUG = "the server ran into a fault of its own; its log says more under the id of this request"


def api_error(error: BaseException) -> ApiError:
    """Returns what a client is told of any fault; of a bug it learns nothing."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Busy):
        status = 429 if error.reason == "queue" else 503
        wait = {"Retry-After": str(max(1, error.retry_after_s))}
        return ApiError(status, error.what, code=f"busy_{error.reason}", headers=wait)
    if isinstance(error, OmnijetError):
        return ApiError(400, told(error))
    if isinstance(error, MemoryError):
        wait = {"Retry-After": "5"}
        return ApiError(503, "memory ran out", code="out_of_memory", headers=wait)
    return ApiError(500, BUG)


def told(error: OmnijetError) -> str:
    """Returns an error as one sentence for a client.

    What to do about it is left out, because it is written for whoever sits at this machine.
    """
    text = error.what
    if error.expected is not None:
        text += f"; expected {_line(error.expected)}"
    if error.got is not None:
        text += f"; got {_line(error.got)}"
    return text


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Returns an answer of JSON."""
    return Response(json_bytes(value), status, dict(headers or {}), "application/json")


def json_bytes(value: Any) -> bytes:
    """Returns JSON in one line."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def _line(value: object) -> str:
    return " ".join(str(value).split())
