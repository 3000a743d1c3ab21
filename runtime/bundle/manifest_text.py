"""The text of `manifest.json`, which holds the hash of all its other bytes.

The text begins with the same bytes in every bundle: format, version and the hash. So no byte can
change unseen, not even one that means nothing to JSON. The hash proves that nothing changed since
omnijet wrote the text. Who wrote it, only a signature can prove, as that of
`omnijet.runtime.bundle.signature`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.json_text import BadJson, parsed

FORMAT = "omnijet-bundle"
VERSION = 2
MOST_BYTES = 8 << 20  # of a 7B, with engines and quantized layers: 0.3 MB
MOST_DEPTH = 16
_HEAD = f'{{\n "format": "{FORMAT}",\n "version": {VERSION},\n "sha256": "'.encode()
_HASH = slice(len(_HEAD), len(_HEAD) + 64)


def sealed(data: Mapping[str, Any]) -> bytes:
    """Returns the text of a manifest.

    Args:
        data: All sections; format, version and hash are added.

    Raises:
        ValueError: a number is not finite, or a text has a character that no UTF-8 holds.
    """
    head = {"format": FORMAT, "version": VERSION, "sha256": "0" * 64}
    rest = {key: value for key, value in data.items() if key not in head}
    text = json.dumps({**head, **rest}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return rehashed(text.encode("utf-8"))


def rehashed(content: bytes) -> bytes:
    """Returns a text whose hash is right, whatever it was; only who tests needs it."""
    return content[: _HASH.start] + _hash(content).encode() + content[_HASH.stop :]


def unsealed(content: bytes, path: Path) -> dict[str, Any]:
    """Returns the sections of a manifest whose text is as it was written.

    Args:
        content: The bytes of the file.
        path: The file, for messages.

    Raises:
        OmnijetError: it is no manifest of this version, or not a byte is as it was.
    """
    try:
        data = parsed(content, MOST_DEPTH)
    except BadJson as error:
        raise unreadable(path, error) from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise OmnijetError(
            "this is not an omnijet manifest", where=path, expected=f'"format": "{FORMAT}"'
        )
    if (version := data.get("version")) != VERSION:
        newer = isinstance(version, int) and version > VERSION
        raise OmnijetError(
            "the bundle was written by another version of omnijet",
            where=path,
            expected=f"manifest version {VERSION}",
            got=f"version {repr(version)[:60]}",
            fix="install a newer omnijet" if newer else "export the bundle again",
        )
    if not content.startswith(_HEAD) or content[_HASH] != _hash(content).encode():
        raise OmnijetError(
            "the manifest was changed after omnijet wrote it",
            where=path,
            expected=f"sha256 {repr(data.get('sha256'))[1:17]}…, as it says itself",
            got=f"sha256 {_hash(content)[:16]}…",
            fix="copy the bundle again, or export it again; a manifest cannot be edited",
        )
    return {key: value for key, value in data.items() if key not in ("format", "version", "sha256")}


def unreadable(path: Path, error: Exception) -> OmnijetError:
    """Returns the error of a manifest whose text cannot be read."""
    return OmnijetError(
        "the manifest cannot be read", where=path, got=error, fix="export the bundle again"
    )


def _hash(content: bytes) -> str:
    """Returns the sha256 of all bytes but those of the hash."""
    digest = hashlib.sha256(content[: _HASH.start])
    digest.update(content[_HASH.stop :])
    return digest.hexdigest()
