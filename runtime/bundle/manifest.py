"""`manifest.json`: what a bundle is, and the proof that its files are what they were.

Written by the exporter, read on the device. Only this module knows its layout.
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
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.bundle.records import build
from omnijet.runtime.errors import OmnijetError

FORMAT = "omnijet-bundle"
VERSION = 1
FILE_NAME = "manifest.json"
ENGINES = "engines"
"""The folder of a bundle that holds engines, and nothing else."""

Library = Literal["tensorrt", "tensorrt_rtx"]
"""What builds and runs engines."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of the bundle, relative to its folder."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class GraphEntry:
    """A graph's files and what `omnijet inspect` shows of it."""

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
        key: sha256 of all that it was made of; the builder's own.
        version: of the library that built it, and the only one that loads it.
        compute_capability: of the GPU, `sm` times ten.
        profiles: in the engine's own order, of each symbol of the contract the smallest, usual
            and largest size.
        caches_in_place: whether each carried tensor is input and output at one address, as
            TensorRT's KVCacheUpdate asks for; else the engine reads one and writes another.
        build_seconds, peak_bytes: of building it; bytes of the process.
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
    """A mapped `.npy` table: embeddings, folded parts of the DiT."""

    file: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class VoiceEntry:
    """A speaker: the text-side id that opens its reply."""

    bos_token: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The whole of `manifest.json`."""

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
    """What the graphs hold other than floats, with its recipe; empty if nothing."""
    engines: dict[str, dict[str, EngineEntry]] = field(default_factory=dict)
    """Of each target (`omnijet.engines.targets.target`), the engines of its graphs."""

    @property
    def contracts(self) -> dict[str, GraphContract]:
        return graph_contracts(self.dims, self.precision)

    def without_engines(self) -> Manifest:
        """Of the same bundle before any was built."""
        files = {k: v for k, v in self.files.items() if not k.startswith(f"{ENGINES}/")}
        return replace(self, engines={}, files=files)

    def write(self, folder: Path) -> None:
        """Beside what is there, then in its place."""
        data = {"format": FORMAT, "version": VERSION, **asdict(self)}
        data["contracts"] = {name: c.to_json() for name, c in self.contracts.items()}
        text = json.dumps(data, indent=1, ensure_ascii=False)
        partial = folder / f".{FILE_NAME}.partial"
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
        """Raises `OmnijetError` if the folder is no bundle of a version we know."""
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
        # bundles that were written before them hold floats, and no engines
        manifest: Manifest = build(Manifest, {"quantization": {}, "engines": {}, **data})
        _check_files(manifest)
    except ValueError as error:
        raise OmnijetError(
            "the manifest is damaged",
            where=path,
            got=error,
            fix="export the bundle again",
        ) from error
    _check_contracts(manifest, data.get("contracts"), path)
    return manifest


def _check_files(manifest: Manifest) -> None:
    """Whatever is opened is inside the folder and has a hash. Raises `ValueError`."""
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
    """The boundary the bundle was exported with must be the one this runtime feeds."""
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
    """Size and sha256; `progress` is told the bytes read."""
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
