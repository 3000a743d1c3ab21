"""A short name for what a message says: equal keys, equal content."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import fields
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from omnijet.runtime.prompt.messages import Message, Text


def message_key(message: Message) -> bytes:
    """Returns the digest of a message: its role, its texts and the content of its media.

    A medium that is a file, which may change, or whose source was let go of is equal to nothing.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name in (field.name for field in fields(Message)):
        if name != "content":
            _add(digest, repr(getattr(message, name)))
    for part in message.parts:
        _add(digest, type(part).__name__)
        if isinstance(part, Text):
            _add(digest, part.text)
            continue
        _add_source(digest, part.source)
        for name in ("sizing", "raw"):
            _add(digest, repr(getattr(part, name, None)))
    return digest.digest()


def _add_source(digest: Any, source: object) -> None:
    if isinstance(source, np.ndarray):
        _add(digest, f"{source.dtype} {source.shape}")
        digest.update(np.ascontiguousarray(source).data)
    elif isinstance(source, PillowImage.Image):
        _add(digest, f"{source.mode} {source.size}")
        _add(digest, source.tobytes())
    elif isinstance(source, bytes | bytearray | memoryview) or (
        isinstance(source, str) and source.startswith("data:")
    ):
        _add(digest, source)
    elif isinstance(source, tuple | list):  # frames, or samples with their rate
        _add(digest, f"{len(source)} items")
        for item in source:
            _add_source(digest, item)
    elif isinstance(source, int | float):
        _add(digest, repr(source))
    else:
        digest.update(secrets.token_bytes(16))


def _add(digest: Any, value: str | bytes | bytearray | memoryview) -> None:
    """Adds a value behind its size, so that neighbours cannot be taken for each other."""
    data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    digest.update(f"{len(data)};".encode())
    digest.update(data)
