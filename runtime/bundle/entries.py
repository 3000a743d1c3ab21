"""The entries of a manifest: files, graphs, engines, tables, voices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from omnijet.runtime.bundle.contract import Precision
from omnijet.runtime.bundle.ranges import (
    Count,
    Few,
    FileName,
    Index,
    Label,
    Long,
    Seconds,
    Sha256,
    Size,
    Within,
)

EngineLibrary = Literal["tensorrt", "tensorrt_rtx"]
Library = Literal["tensorrt", "tensorrt_rtx", "onnxruntime"]
"""The library that an engine, or a graph that was built, is made with and runs in."""

Axis = Annotated[int, Within(0, 1 << 31)]


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Size and hash of one file of the bundle."""

    bytes: Count
    sha256: Sha256


@dataclass(frozen=True, slots=True)
class GraphEntry:
    """A graph's files, and the counts that `omnijet inspect` shows."""

    file: FileName
    weights: FileName
    parameters: Count
    weight_bytes: Count
    nodes: Count
    opset: Few
    ops: dict[Label, Count]


@dataclass(frozen=True, slots=True)
class OrtForm:
    """What is to be known of a graph that was built for ONNX Runtime.

    Attributes:
        weights: the file of its weights.
        precision: of its caches, whatever the bundle's is.
        packs: whether ONNX Runtime copies weights into the order of its kernels when it loads
            them; otherwise they stay mapped from the file, and each product orders them anew.
        optimized: whether the file is what ONNX Runtime's optimizer made. Only the version that
            built it loads it.
        instructions: the instruction sets of the processor that it is for; none: any processor.
    """

    weights: FileName
    precision: Precision
    packs: bool
    optimized: bool
    instructions: tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """A graph built for one machine: an engine, or a graph in a form for ONNX Runtime.

    Attributes:
        key: sha256 of all inputs of the build; only the builder reads it.
        version: version of the library that built the engine; no other version loads it.
        compute_capability: compute capability of the GPU times ten (87 for 8.7); 0: any, or none.
        profiles: in the engine's own order, the smallest, usual and largest size of each
            symbol of the contract; ONNX Runtime has none.
        caches_in_place: whether each carried tensor is input and output at one address, as
            TensorRT's KVCacheUpdate requires; otherwise the engine reads one buffer and writes
            another.
        build_seconds, peak_bytes: duration of the build, and peak memory of its process.
    """

    file: FileName
    key: Label
    library: Library
    version: Label
    compute_capability: Annotated[int, Within(0, 10_000)]
    profiles: tuple[dict[Label, Annotated[tuple[Axis, ...], Long(3)]], ...]
    caches_in_place: bool
    bytes: Count
    layers: Count
    build_seconds: Seconds
    peak_bytes: Count
    ort: OrtForm | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """The files that run: an engine, or a graph and its weights."""
        return (self.file,) if self.ort is None else (self.file, self.ort.weights)


@dataclass(frozen=True, slots=True)
class TableEntry:
    """A memory-mapped `.npy` table: embeddings, and folded parts of the DiT."""

    file: FileName
    dtype: Label
    shape: tuple[Size, ...]


@dataclass(frozen=True, slots=True)
class VoiceEntry:
    """A speaker: the text token that opens its replies."""

    bos_token: Index
