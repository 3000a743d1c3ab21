"""Manifests with changed values whose hash is right: what a stranger could write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omnijet.runtime.bundle.manifest import FILE_NAME
from omnijet.runtime.bundle.manifest_text import sealed


def write_sealed(folder: Path, data: Mapping[str, Any]) -> None:
    """Writes a folder's manifest, whatever its values are."""
    (folder / FILE_NAME).write_bytes(sealed(data))
