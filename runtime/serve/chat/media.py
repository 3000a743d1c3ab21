"""Media that a client sends within its request: checked before anything of them is decoded."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Any

from omnijet.runtime.assistant.limits import Limits
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.length import (
    require_short_clip,
    require_short_sound,
    require_small_picture,
)
from omnijet.runtime.media.pcm import RawFormat
from omnijet.runtime.media.source import MAX_BYTES
from omnijet.runtime.serve.faults import told
from omnijet.runtime.serve.fields import Node

PCM16 = "s16le:24000:1"
"""What `pcm16` stands for: as the model speaks, and as OpenAI's realtime API has it."""
SOUND_KINDS = ("wav", "mp3", "pcm16", "flac", "opus", "ogg", "m4a", "aac", "mp4", "webm", "mpga",
               "mpeg")  # fmt: skip
"""Formats that a client may name. The content says which it is; only `pcm16` has none to say."""
MOST_FRAMES = 2048
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[\w.+-]+=[\w.+-]+)*);base64,", re.I | re.A)
_WHITE = re.compile(r"[ \t\r\n\f]+")


@dataclass(frozen=True, slots=True)
class MediaReader:
    """Makes parts of messages of what clients send. Each method returns None after a fault."""

    limits: Limits

    def sound(
        self, node: Node, form: str | None = None, is_url: bool = False
    ) -> dict[str, Any] | None:
        """Reads base64, or a data: URL, as a sound; with `is_url` a data: URL only."""
        content = _content(node, "audio", is_url)
        return None if content is None else self.sound_of(node, content, form)

    def sound_of(
        self, node: Node, content: bytes, form: str | None = None
    ) -> dict[str, Any] | None:
        """Reads the content of a file as a sound."""
        raw = RawFormat.parse(PCM16) if form == "pcm16" else None
        part: dict[str, Any] = {"type": "audio", "audio": content}
        if raw is not None:
            part["format"] = PCM16
        return self._checked(
            node, part, lambda: require_short_sound(content, self.limits.media_s, raw)
        )

    def picture(self, node: Node) -> dict[str, Any] | None:
        """Reads a data: URL as a picture."""
        content = _content(node, "image", is_url=True)
        if content is None:
            return None
        part = {"type": "image", "image": content, "max_pixels": self.limits.seen_pixels}
        return self._checked(node, part, lambda: require_small_picture(content, self.limits.pixels))

    def clip(self, node: Node) -> dict[str, Any] | None:
        """Reads a data: URL as a clip; `data:video/jpeg;base64,A,B` holds single frames."""
        if isinstance(node.value, str) and node.value[:22].lower() == "data:video/jpeg;base64":
            urls = [f"data:image/jpeg;base64,{one}" for one in node.value[23:].split(",")]
            return self.frames(Node(urls, node.path, node.faults))
        content = _content(node, "video", is_url=True)
        if content is None:
            return None
        part = {"type": "video", "video": content}
        limits = self.limits
        return self._checked(
            node, part, lambda: require_short_clip(content, limits.media_s, limits.pixels)
        )

    def frames(self, node: Node) -> dict[str, Any] | None:
        """Reads a list of data: URLs as the frames of a clip, two a second."""
        before = len(node.faults.found)
        parts = [self.picture(frame) for frame in node.items(1, MOST_FRAMES)]
        if len(node.faults.found) > before:
            return None
        return {"type": "video", "video": [part["image"] for part in parts if part is not None]}

    def _checked(self, node: Node, part: dict[str, Any], check: Any) -> dict[str, Any] | None:
        try:
            check()
        except OmnijetError as error:
            node.fault(told(error), "invalid_media")
            return None
        return part


def _content(node: Node, kind: str, is_url: bool = False) -> bytes | None:
    """Decodes base64 or a data: URL; no other URL, and no path, is ever opened."""
    text = node.text()
    if text is None:
        return None
    head = _DATA_URL.match(text[:300])
    if head is None and (is_url or text[:5].lower() == "data:" or "://" in text[:30]):
        node.fault(f"expected data:{kind}/TYPE;base64,CONTENT: nothing is fetched", "invalid_url")
        return None
    packed = text[head.end() :] if head is not None else text
    try:
        content = base64.b64decode(_padded(packed), validate=True)
    except (binascii.Error, ValueError):
        node.fault("expected base64", "invalid_base64")
        return None
    if not content:
        node.fault("expected the content of a file, got no bytes", "invalid_media")
        return None
    assert len(content) < MAX_BYTES
    return content


def _padded(text: str) -> bytes:
    packed = _WHITE.sub("", text).encode("ascii").rstrip(b"=")
    return packed + b"=" * (-len(packed) % 4)
