"""The parts of a message: text, sounds, pictures and clips, in the forms that clients write."""

from __future__ import annotations

from typing import Any

from omnijet.runtime.serve.chat.media import SOUND_KINDS, MediaReader
from omnijet.runtime.serve.fields import Node

MOST_PARTS = 256
LOW_DETAIL_PIXELS = 512 * 512
KINDS = ("text", "input_audio", "audio_url", "image_url", "video_url", "video")
_REFUSED = {
    "file": "files are not read: send sounds, pictures and clips as parts of their kind",
    "refusal": "refusals have no place in a conversation with this model",
    "input_text": "the chat API has text",
    "input_image": "the chat API has image_url",
}


def read_parts(node: Node, media: MediaReader, text_only: bool) -> list[dict[str, Any]]:
    """Reads a list of parts as those of `omnijet.runtime.prompt.messages`; faults are noted.

    Args:
        text_only: whether the role of the message has no media.
    """
    parts = []
    for part in node.items(1, MOST_PARTS):
        read = _part(part, media, text_only) if part.is_object() else None
        if read is not None:
            parts.append(read)
    return parts


def _part(node: Node, media: MediaReader, text_only: bool) -> dict[str, Any] | None:
    kind = node.at("type")
    if isinstance(kind.value, str) and kind.value in _REFUSED:
        kind.fault(_REFUSED[kind.value], "unsupported_parameter")
        return None
    name = kind.choice(("text",) if text_only else KINDS)
    if name is None:
        return None
    node.check_keys(("type", name, *(("fps",) if name == "video" else ())))
    held = node.at(name)
    if name == "text":
        text = held.text()
        return None if text is None else {"type": "text", "text": text}
    if name == "video":
        return _frames(node, media)
    if not held.is_object():
        return None
    return _READERS[name](held, media)


def _input_audio(node: Node, media: MediaReader) -> dict[str, Any] | None:
    """Reads `{"data": BASE64, "format": "wav"}`."""
    node.check_keys(("data", "format"))
    form = node.at("format").choice(SOUND_KINDS)
    sound = media.sound(node.at("data"), form)
    return None if form is None else sound


def _audio_url(node: Node, media: MediaReader) -> dict[str, Any] | None:
    """Reads `{"url": "data:audio/..."}`, as vLLM has it."""
    node.check_keys(("url",))
    return media.sound(node.at("url"), is_url=True)


def _image_url(node: Node, media: MediaReader) -> dict[str, Any] | None:
    """Reads `{"url": "data:image/...", "detail": "low"}`."""
    node.check_keys(("url", "detail"))
    detail = node.at("detail")
    low = detail.is_given and detail.choice(("auto", "low", "high")) == "low"
    part = media.picture(node.at("url"))
    if part is not None and low:
        part["max_pixels"] = min(LOW_DETAIL_PIXELS, part["max_pixels"])
    return part


def _video_url(node: Node, media: MediaReader) -> dict[str, Any] | None:
    """Reads `{"url": "data:video/..."}`, as vLLM, SGLang and DashScope have it."""
    node.check_keys(("url",))
    return media.clip(node.at("url"))


def _frames(node: Node, media: MediaReader) -> dict[str, Any] | None:
    """Reads `"video": ["data:image/...", ...]`, as DashScope has it."""
    fps = node.at("fps")
    if fps.is_given and fps.number(0.1, 100) not in (None, 2.0):
        fps.fault("frames are taken as two a second: send them so", "unsupported_value")
    return media.frames(node.at("video"))


_READERS = {
    "input_audio": _input_audio,
    "audio_url": _audio_url,
    "image_url": _image_url,
    "video_url": _video_url,
}
