"""`manifest.json`: what a bundle is, and the hashes that prove its files intact.

The exporter writes it and the device reads it. Only this module knows its layout.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from omnijet.runtime.bundle.contract import GraphContract, Precision, graph_contracts
from omnijet.runtime.bundle.dims import ModelDims, nested
from omnijet.runtime.bundle.records import build
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.leftovers import leftover

FORMAT = "omnijet-bundle"
VERSION = 1
FILE_NAME = "manifest.json"
ENGINES = "engines"
"""The folder of a bundle that holds its engines and nothing else."""

Library = Literal["tensorrt", "tensorrt_rtx"]
"""The library that builds and runs an engine."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Size and hash of one file of the bundle."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class GraphEntry:
    """A graph's files, and the counts that `omnijet inspect` shows."""

    file: str
    weights: str
    parameters: int
    weight_bytes: int
    nodes: int
    opset: int
    ops: dict[str, int]


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """A graph built for one machine.

    Attributes:
        key: sha256 of all inputs of the build; only the builder reads it.
        version: version of the library that built the engine; no other version loads it.
        compute_capability: compute capability of the GPU times ten (87 for 8.7).
        profiles: in the engine's own order, the smallest, usual and largest size of each
            symbol of the contract.
        caches_in_place: whether each carried tensor is input and output at one address, as
            TensorRT's KVCacheUpdate requires; otherwise the engine reads one buffer and writes
            another.
        build_seconds, peak_bytes: duration of the build, and peak memory of its process.
    """

    file: str
    key: str
    library: Library
    version: str
    compute_capability: int
    profiles: tuple[dict[str, tuple[int, ...]], ...]
    caches_in_place: bool
    bytes: int
    layers: int
    build_seconds: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class TableEntry:
    """A memory-mapped `.npy` table: embeddings, and folded parts of the DiT."""

    file: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class VoiceEntry:
    """A speaker: the text token that opens its replies."""

    bos_token: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of `manifest.json`."""

    name: str
    precision: Precision
    dims: ModelDims
    graphs: dict[str, GraphEntry]
    tables: dict[str, TableEntry]
    voices: dict[str, VoiceEntry]
    preprocessor: dict[str, Any]
    files: dict[str, FileEntry]
    versions: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    quantization: dict[str, Any] = field(default_factory=dict)
    """The quantization of the graphs and its recipe; empty for float graphs."""
    engines: dict[str, dict[str, EngineEntry]] = field(default_factory=dict)
    """The engines by target (`omnijet.engines.targets.target`), then by graph."""

    @property
    def contracts(self) -> dict[str, GraphContract]:
        return graph_contracts(self.dims, self.precision)

    def without_engines(self) -> Manifest:
        """Returns the manifest of the same bundle before any engine was built."""
        files = {k: v for k, v in self.files.items() if not k.startswith(f"{ENGINES}/")}
        return replace(self, engines={}, files=files)

    def write(self, folder: Path) -> None:
        """Writes the manifest beside the old one and then replaces it in one step."""
        data = {"format": FORMAT, "version": VERSION, **asdict(self)}
        data["dims"] = self.dims.to_json()
        data["contracts"] = {name: c.to_json() for name, c in self.contracts.items()}
        text = json.dumps(data, indent=1, ensure_ascii=False)
        partial = folder / f".{FILE_NAME}.partial"
        with leftover(lambda: partial.unlink(missing_ok=True)):
            try:
                with open(partial, "w", encoding="utf-8") as file:
                    file.write(text + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(partial, folder / FILE_NAME)
            finally:
                partial.unlink(missing_ok=True)

    @staticmethod
    def read(folder: Path) -> Manifest:
        """Reads a folder's manifest.

        Raises:
            OmnijetError: the folder is no bundle, or one of another version.
        """
        path = folder / FILE_NAME
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise OmnijetError(
                "this is not an omnijet bundle",
                where=folder,
                expected=f"a folder with {FILE_NAME}",
                got="no such folder" if not folder.exists() else f"no {FILE_NAME} in it",
                fix="make one with `omnijet export CHECKPOINT BUNDLE`",
            ) from None
        except NotADirectoryError:
            raise OmnijetError(
                "this is not an omnijet bundle", where=folder, expected="a folder", got="a file"
            ) from None
        except (OSError, ValueError) as error:
            raise OmnijetError(
                "the manifest cannot be read", where=path, got=error, fix="export the bundle again"
            ) from error
        return _parse(data, path)


def _parse(data: Any, path: Path) -> Manifest:
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise OmnijetError(
            "this is not an omnijet manifest", where=path, expected=f'"format": "{FORMAT}"'
        )
    if data.get("version") != VERSION:
        newer = isinstance(data.get("version"), int) and data["version"] > VERSION
        raise OmnijetError(
            "the bundle was written by another version of omnijet",
            where=path,
            expected=f"manifest version {VERSION}",
            got=f"version {data.get('version')}",
            fix="install a newer omnijet" if newer else "export the bundle again",
        )
    try:
        # older manifests lack these sections: such bundles hold floats and no engines
        data = {"quantization": {}, "engines": {}, **data}
        if "dims" in data:
            data["dims"] = nested(data["dims"])
        manifest: Manifest = build(Manifest, data)
        _check_files(manifest)
    except ValueError as error:
        raise OmnijetError(
            "the manifest is damaged, or another version of omnijet wrote it",
            where=path,
            got=error,
            fix="export the bundle again",
        ) from error
    _check_contracts(manifest, data.get("contracts"), path)
    return manifest


def _check_files(manifest: Manifest) -> None:
    """Raises `ValueError` if a file lies outside the folder or has no hash."""
    for name in manifest.files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"files: {name!r} lies outside the bundle")
    named = [
        (f"graphs.{k}", file) for k, v in manifest.graphs.items() for file in (v.file, v.weights)
    ]
    named += [(f"tables.{k}", v.file) for k, v in manifest.tables.items()]
    for target, engines in manifest.engines.items():
        named += [(f"engines.{target}.{k}", v.file) for k, v in engines.items()]
    for where, file in named:
        if file not in manifest.files:
            raise ValueError(f"{where}: {file!r} is not among the files")
    unknown = sorted(
        {*manifest.graphs, *(k for v in manifest.engines.values() for k in v)}
        - set(manifest.contracts)
    )
    if unknown:
        raise ValueError(f"graphs: no contract for {', '.join(unknown)}")


def _check_contracts(manifest: Manifest, declared: Any, path: Path) -> None:
    """Raises `OmnijetError` if the bundle's contracts are not those of this runtime."""
    for name, contract in manifest.contracts.items():
        ours = json.loads(json.dumps(contract.to_json()))
        theirs = declared.get(name) if isinstance(declared, dict) else None
        if name not in manifest.graphs or theirs != ours:
            raise OmnijetError(
                f"the bundle's contract of {name} is not this runtime's",
                where=path,
                expected=json.dumps(ours)[:300],
                got="no such graph" if theirs is None else json.dumps(theirs)[:300],
                fix="export the bundle again with this version of omnijet",
            )


def hash_file(path: Path, progress: Callable[[int], None] | None = None) -> FileEntry:
    """Returns a file's size and sha256.

    Args:
        progress: called with the number of bytes of each block that was read.
    """
    digest = hashlib.sha256()
    size = 0
    with open(path, "rb") as file:
        while block := file.read(8 << 20):
            digest.update(block)
            size += len(block)
            if progress is not None:
                progress(len(block))
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return FileEntry(size, digest.hexdigest())
