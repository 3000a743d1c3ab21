"""`manifest.json`: what a bundle is, and the hashes that prove its files intact.

The exporter writes it and the device reads it. Only this module knows its sections; each value has
a range, and what sections say of each other must agree. `omnijet.runtime.bundle.manifest_text` is
the text that holds them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from omnijet.runtime.bundle import manifest_rules
from omnijet.runtime.bundle.contract import GraphContract, Precision, graph_contracts
from omnijet.runtime.bundle.dims import ModelDims, nested
from omnijet.runtime.bundle.entries import (
    EngineEntry,
    FileEntry,
    GraphEntry,
    Library,
    OrtForm,
    TableEntry,
    VoiceEntry,
)
from omnijet.runtime.bundle.manifest_text import MOST_BYTES, sealed, unreadable, unsealed
from omnijet.runtime.bundle.ranges import FileName, Label
from omnijet.runtime.bundle.records import SHOWN, build
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.bounded import read_bounded
from omnijet.runtime.files.whole_file import write_whole

FILE_NAME = manifest_rules.FILE_NAME
ENGINES = manifest_rules.ENGINES
__all__ = (
    "ENGINES", "FILE_NAME", "EngineEntry", "FileEntry", "GraphEntry", "Library", "Manifest",
    "OrtForm", "TableEntry", "VoiceEntry", "hash_file", "manifest_content",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of `manifest.json`."""

    name: Label
    precision: Precision
    dims: ModelDims
    graphs: dict[Label, GraphEntry]
    tables: dict[Label, TableEntry]
    voices: dict[Label, VoiceEntry]
    preprocessor: dict[str, Any]
    files: dict[FileName, FileEntry]
    versions: dict[Label, Label] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    quantization: dict[str, Any] = field(default_factory=dict)
    """The quantization of the graphs and its recipe; empty for float graphs."""
    picks_rows: bool = False
    """Whether the Thinker's graph computes logits of chosen rows (`graph_contracts`)."""
    joins_pictures: bool = False
    """Whether the vision encoder's graph takes several pictures in one call."""
    engines: dict[Label, dict[Label, EngineEntry]] = field(default_factory=dict)
    """The engines by target (`omnijet.engines.targets.target`), then by graph."""

    @property
    def contracts(self) -> dict[str, GraphContract]:
        return self.contracts_in(self.precision)

    def contracts_in(self, precision: Precision) -> dict[str, GraphContract]:
        """Returns the contracts that the same graphs would have in another precision."""
        return graph_contracts(
            self.dims,
            precision,
            picks_rows=self.picks_rows,
            joins_pictures=self.joins_pictures,
        )

    @property
    def engine_targets(self) -> tuple[str, ...]:
        """The targets of `--engines`: ONNX Runtime takes what was built for it by itself."""
        return tuple(
            target
            for target, engines in self.engines.items()
            if any(entry.ort is None for entry in engines.values())
        )

    def without_engines(self) -> Manifest:
        """Returns the manifest of the same bundle before any engine was built."""
        files = {k: v for k, v in self.files.items() if not k.startswith(f"{ENGINES}/")}
        return replace(self, engines={}, files=files)

    def write(self, folder: Path) -> None:
        """Writes the manifest beside the old one and then replaces it in one step.

        Raises:
            OmnijetError: `read` would refuse it. Nothing is written then.
        """
        path = folder / FILE_NAME
        try:
            content = self.content()
        except ValueError as error:
            raise unreadable(path, error) from error
        Manifest.parsed(content, path)
        write_whole(path, content, follow_link=False)

    def model_sha256(self) -> str:
        """Returns the hash of what `write` writes without engines: the model has not changed when a
        bundle was built for another target.
        """
        return hashlib.sha256(self.without_engines().content()).hexdigest()

    def content(self) -> bytes:
        """Returns what `write` writes. Raises `ValueError` if a value cannot be written."""
        data = asdict(self)
        data["dims"] = self.dims.to_json()
        data["contracts"] = {name: c.to_json() for name, c in self.contracts.items()}
        return sealed(data)

    @staticmethod
    def read(folder: Path) -> Manifest:
        """Reads a folder's manifest.

        Raises:
            OmnijetError: the folder is no bundle, one of another version, or its manifest is not
                as it was written.
        """
        return Manifest.parsed(manifest_content(folder), folder / FILE_NAME)

    @staticmethod
    def parsed(content: bytes, path: Path) -> Manifest:
        """Parses the bytes of a manifest.

        Args:
            content: The bytes.
            path: The file, for messages.

        Raises:
            OmnijetError: the errors of `read`.
        """
        data = unsealed(content, path)
        declared = data.pop("contracts", None)
        try:
            if "dims" in data:
                data["dims"] = nested(data["dims"])
            manifest: Manifest = build(Manifest, data, closed=True)
        except ValueError as error:
            raise _damaged(path, error) from error
        if faults := manifest_rules.faults_of(manifest):
            raise _damaged(path, "\n            ".join(faults[:SHOWN]))
        _check_contracts(manifest, declared, path)
        return manifest


def manifest_content(folder: Path) -> bytes:
    """Returns the bytes of a folder's manifest.

    Raises:
        OmnijetError: the folder is no bundle, or the file cannot be read.
    """
    path = folder / FILE_NAME
    try:
        return read_bounded(path, MOST_BYTES)
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
        raise unreadable(path, error) from error


def _damaged(path: Path, got: object) -> OmnijetError:
    return OmnijetError(
        "the manifest is damaged, or another version of omnijet wrote it",
        where=path,
        got=got,
        fix="export the bundle again",
    )


def _check_contracts(manifest: Manifest, declared: Any, path: Path) -> None:
    """Raises `OmnijetError` if the bundle's contracts are not those of this runtime."""
    theirs = declared if isinstance(declared, dict) else {}
    contracts = {name: contract.to_json() for name, contract in manifest.contracts.items()}
    for name in [*contracts, *theirs]:
        ours = contracts.get(name)
        if ours is None or name not in manifest.graphs or theirs.get(name) != ours:
            raise OmnijetError(
                f"the bundle's contract of {name} is not this runtime's",
                where=path,
                expected="no such graph" if ours is None else json.dumps(ours)[:300],
                got="no such graph" if name not in theirs else json.dumps(theirs[name])[:300],
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
