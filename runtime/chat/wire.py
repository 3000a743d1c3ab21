"""Reads server events, which are JSON of unknown make."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.chat.transport import Event
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.wav import pcm16

OLD_NAMES = {
    "response.audio.delta": "response.output_audio.delta",
    "response.audio.done": "response.output_audio.done",
    "response.audio_transcript.delta": "response.output_audio_transcript.delta",
    "response.text.delta": "response.output_text.delta",
}
"""Names before the API's general availability, which some servers still send."""


def kind_of(event: Event) -> str:
    """Returns the type of an event, by its present name."""
    kind = text_of(event, "type")
    return OLD_NAMES.get(kind, kind)


def text_of(event: Mapping[str, Any], key: str) -> str:
    """Returns a string; "" if it is missing or none."""
    value = event.get(key)
    return value if isinstance(value, str) else ""


def object_of(event: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Returns an object; an empty one if it is missing or none."""
    value = event.get(key)
    return value if isinstance(value, dict) else {}


def item_ids(response: Mapping[str, Any]) -> list[str]:
    """Returns the identifiers of what a response has made."""
    output = response.get("output")
    rows = output if isinstance(output, list) else []
    return [text_of(row, "id") for row in rows if isinstance(row, dict)]


def encoded(samples: Array) -> str:
    """Returns f32[n] in [-1, 1] as events carry it: 16-bit PCM in base64."""
    return base64.b64encode(pcm16(samples)).decode()


def decoded(text: str) -> Array:
    """Returns f32[n] in [-1, 1] of 16-bit PCM in base64.

    Raises:
        OmnijetError: it is no base64, or ends within a sample.
    """
    try:
        content = base64.b64decode(text, validate=True)
        return np.frombuffer(content, "<i2").astype(np.float32) / np.float32(32768)
    except ValueError as error:
        raise OmnijetError(
            "the server sent sound that cannot be read", expected="16-bit PCM", got=str(error)
        ) from error


def failure(response: Mapping[str, Any]) -> str:
    """Returns why a response failed."""
    error = object_of(object_of(response, "status_details"), "error")
    return f"the reply failed: {text_of(error, 'message') or 'it is not said why'}"
