"""The field `model` of a request."""

from __future__ import annotations

from omnijet.runtime.serve.faults import ApiError
from omnijet.runtime.serve.fields import Node


def check_model(node: Node, name: str) -> None:
    """Notes a field that is no name. Raises `ApiError` if it names another model."""
    asked = node.text(500)
    if asked is not None and asked != name:
        raise ApiError(
            404, f"there is no model {asked[:100]!r} here, but {name!r}", "model", "model_not_found"
        )
