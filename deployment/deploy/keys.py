"""Hashes of the inputs of steps: a step whose key is that of the last time is not done again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from omnijet.runtime.bundle.manifest import ENGINES, Manifest
from omnijet.runtime.bundle.stamp import stamps
from omnijet.runtime.child.search_path import HOME

SMALL_BYTES = 1 << 20
"""Files up to this size count by their content, larger ones by size and time of change."""
LIBRARIES = (
    "numpy", "ml-dtypes", "onnx", "onnx-ir", "onnxruntime", "onnxruntime-gpu", "onnxscript",
    "tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx-cu13-libs", "torch",
)  # fmt: skip


def digest(facts: Mapping[str, Any]) -> str:
    """Returns the hash of some facts, in 24 digits."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def identity(manifest: Manifest) -> str:
    """Returns the hash of all that a bundle is without its engines."""
    files = {
        name: entry.sha256
        for name, entry in manifest.files.items()
        if not name.startswith(f"{ENGINES}/")
    }
    return digest(
        {
            "files": files, "precision": manifest.precision, "dims": manifest.dims.to_json(),
            "recipe": str(manifest.quantization.get("recipe", "")),
        }
    )  # fmt: skip


def engines_identity(manifest: Manifest, target: str) -> str:
    """Returns the hash of a target's engines; "" if there are none."""
    engines = manifest.engines.get(target, {})
    return digest({graph: entry.key for graph, entry in engines.items()}) if engines else ""


def content(source: str) -> Any:
    """Returns what tells the content of a file or of a folder's files from another one.

    Where there is neither, as of a hub id, the name itself.
    """
    path = Path(source)
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    if not path.is_dir():
        return source
    names = sorted(one.relative_to(path).as_posix() for one in path.rglob("*") if one.is_file())
    found = stamps(path, names)
    return {
        name: hashlib.sha256((path / name).read_bytes()).hexdigest()
        if stamp.bytes <= SMALL_BYTES
        else [stamp.bytes, stamp.modified_ns]
        for name, stamp in found.items()
    }


@cache
def code(*rooms: str) -> str:
    """Returns the hash of the code of some rooms, such as `export`, and of those below them."""
    found = hashlib.sha256()
    for room in rooms:
        for path in sorted((Path(HOME) / "omnijet" / room).rglob("*.py")):
            found.update(path.read_bytes())
    return found.hexdigest()[:24]


def versions(names: Iterable[str] = LIBRARIES) -> dict[str, str]:
    """Returns the versions of those packages that are installed, and of omnijet itself."""
    found = {}
    for name in ("omnijet", *names):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
