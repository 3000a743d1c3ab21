"""What the sections of one manifest say about each other: files, graphs, tables, engines."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Protocol

from omnijet.runtime.bundle.contract import NUMPY_DTYPES, GraphContract, Precision
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.bundle.dims_rules import dims_faults
from omnijet.runtime.bundle.entries import (
    EngineEntry,
    FileEntry,
    GraphEntry,
    TableEntry,
    VoiceEntry,
)
from omnijet.runtime.bundle.quantization_facts import quantization_faults

ENGINES = "engines"
"""The folder of a bundle that holds its engines and nothing else."""

FILE_NAME = "manifest.json"
SIGNATURE = f"{FILE_NAME}.minisig"
MOST_POINTS = 10_000  # of the solver
MOST_HEADER = 4096  # bytes of a `.npy` file before its values
MOST_GRAPH = 1 << 31  # bytes of an `.onnx` file: protobuf's own limit
DTYPES: Mapping[Precision, str] = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
"""The dtype of embedding tables, as manifests name it."""


class Sections(Protocol):
    """The sections of a manifest that rules compare."""

    @property
    def precision(self) -> Precision: ...
    @property
    def dims(self) -> ModelDims: ...
    @property
    def graphs(self) -> dict[str, GraphEntry]: ...
    @property
    def tables(self) -> dict[str, TableEntry]: ...
    @property
    def voices(self) -> dict[str, VoiceEntry]: ...
    @property
    def files(self) -> dict[str, FileEntry]: ...
    @property
    def quantization(self) -> dict[str, Any]: ...
    @property
    def engines(self) -> dict[str, dict[str, EngineEntry]]: ...
    @property
    def contracts(self) -> dict[str, GraphContract]: ...


def table_shapes(
    dims: ModelDims, precision: Precision, voices: Mapping[str, object], points: int
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Returns dtype and shape of each table of a model.

    Args:
        dims: The model's dimensions.
        precision: The dtype of its embeddings.
        voices: Its voices by name.
        points: The number of times at which the DiT may be evaluated.
    """
    thinker, dtype = dims.thinker, DTYPES[precision]
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {
        "thinker_embedding": (dtype, (thinker.vocab, thinker.embed_width))
    }
    if dims.speech is None:
        return shapes
    talker, dit = dims.speech.talker, dims.speech.dit
    shapes["talker_embedding"] = (dtype, (talker.vocab, talker.embed_width))
    floats = {
        "dit_times": (points,),
        "dit_codec": (dit.codec_rows, dit.hidden),
        "dit_modulation": (points, dit.layers, 6, dit.hidden),
        "dit_modulation_out": (points, 2, dit.hidden),
        "dit_inv_freq": (dit.head_dim // 2,),
        "no_voice": (dit.hidden,),
        **{f"voice_{name}": (dit.hidden,) for name in voices},
    }
    return shapes | {name: ("float32", shape) for name, shape in floats.items()}


def faults_of(manifest: Sections) -> list[str]:
    """Returns one line for each rule that a manifest breaks."""
    faults = dims_faults(manifest.dims)
    if faults:  # contracts and shapes of such dimensions mean nothing
        return faults
    return [
        *_name_faults(manifest),
        *_file_faults(manifest),
        *_voice_faults(manifest),
        *_table_faults(manifest),
        *_graph_faults(manifest),
        *_engine_faults(manifest),
        *quantization_faults(manifest.quantization, manifest.graphs),
    ]


def _name_faults(manifest: Sections) -> Iterator[str]:
    """Yields names that no disk can hold together; the form of each is checked before."""
    spellings: dict[str, str] = {}
    folders = {str(p) for name in manifest.files for p in PurePosixPath(name).parents}
    for name in manifest.files:
        if name in (FILE_NAME, SIGNATURE):
            yield f"files: {name!r} cannot hold its own hash"
        if (other := spellings.setdefault(name.casefold(), name)) != name:
            yield f"files: {name!r} and {other!r} differ in upper and lower case only"
        if name in folders:
            yield f"files: {name!r} is a file and a folder"


def _file_faults(manifest: Sections) -> Iterator[str]:
    """Yields files that are named, but not listed or named before."""
    named = [
        (f"graphs.{name}", file)
        for name, entry in manifest.graphs.items()
        for file in (entry.file, entry.weights)
    ]
    named += [(f"tables.{name}", entry.file) for name, entry in manifest.tables.items()]
    for where, file in named:
        if file.startswith(f"{ENGINES}/"):
            yield f"{where}: {file!r} is in the folder of engines"
    named += [
        (f"engines.{target}.{graph}", file)
        for target, engines in manifest.engines.items()
        for graph, entry in engines.items()
        for file in entry.files
    ]
    for where, file in named:
        if file not in manifest.files:
            yield f"{where}: {file!r} is not among the files"
    for file, times in Counter(file for _, file in named).items():
        if times > 1:
            yield f"files: {file!r} has {times} uses"


def _voice_faults(manifest: Sections) -> Iterator[str]:
    dims, voices = manifest.dims, manifest.voices
    if dims.has_voice and not voices:
        yield "no voice"
    if voices and not dims.has_voice:
        yield f"voices ({', '.join(voices)}), but no Talker, DiT and vocoder"
    for name, voice in voices.items():
        if voice.bos_token >= dims.thinker.vocab:
            yield (
                f"voice {name}: token {voice.bos_token} is not in the vocabulary of "
                f"{dims.thinker.vocab}"
            )


def _table_faults(manifest: Sections) -> Iterator[str]:
    times = manifest.tables.get("dit_times")
    points = times.shape[0] if times is not None and times.shape else 0
    if times is not None and not 0 < points <= MOST_POINTS:
        yield f"tables.dit_times.shape: expected 1 to {MOST_POINTS} points, got {points}"
    wanted = table_shapes(manifest.dims, manifest.precision, manifest.voices, points)
    yield from (f"no table {name}" for name in wanted if name not in manifest.tables)
    for name, entry in manifest.tables.items():
        if name not in wanted:
            yield f"tables.{name}: unknown"
            continue
        dtype, shape = wanted[name]
        if (entry.dtype, entry.shape) != (dtype, shape):
            expected, got = f"{dtype}{list(shape)}", f"{entry.dtype}{list(entry.shape)}"
            yield f"tables.{name}: expected {expected}, as dims say, got {got}"
        elif file := manifest.files.get(entry.file):
            held = next(k for k, v in DTYPES.items() if v == dtype)
            data = math.prod(shape) * NUMPY_DTYPES[held].itemsize
            if not data < file.bytes <= data + MOST_HEADER:
                yield f"files.{entry.file}: expected {data} bytes and a header, got {file.bytes}"


def _graph_faults(manifest: Sections) -> Iterator[str]:
    for name, entry in manifest.graphs.items():
        if name not in manifest.contracts:
            yield f"graphs: no contract for {name}"
        graph, weights = manifest.files.get(entry.file), manifest.files.get(entry.weights)
        if graph and not 0 < graph.bytes < MOST_GRAPH:
            yield f"files.{entry.file}: expected 1 to {MOST_GRAPH} bytes, got {graph.bytes}"
        if weights and weights.bytes != entry.weight_bytes:
            size, said = weights.bytes, entry.weight_bytes
            yield f"graphs.{name}.weight_bytes: expected {size}, the file's size, got {said}"
        if (count := sum(entry.ops.values())) != entry.nodes:
            yield f"graphs.{name}.nodes: expected {count}, the sum of ops, got {entry.nodes}"


def _engine_faults(manifest: Sections) -> Iterator[str]:
    for target, engines in manifest.engines.items():
        if len({entry.ort is None for entry in engines.values()}) > 1:
            yield f"engines.{target}: engines, and graphs for ONNX Runtime"
        for graph, entry in engines.items():
            where = f"engines.{target}.{graph}"
            if graph not in manifest.contracts:
                yield f"{where}: no contract for {graph}"
                continue
            for name in entry.files:
                if PurePosixPath(name).parent != PurePosixPath(ENGINES, target):
                    yield f"{where}: {name!r} is not in {ENGINES}/{target}"
            yield from _ort_faults(where, target, graph, entry)
            found = [manifest.files.get(name) for name in entry.files]
            size = sum(file.bytes for file in found if file)
            if all(found) and size != entry.bytes:
                yield f"{where}.bytes: expected {size}, the size of its files, got {entry.bytes}"
            symbols = set(manifest.contracts[graph].symbols)
            yield from _profile_faults(where, entry, symbols)


def _ort_faults(where: str, target: str, graph: str, entry: EngineEntry) -> Iterator[str]:
    """Yields what a graph for ONNX Runtime has and no engine, or the other way round."""
    if (entry.library == "onnxruntime") != (entry.ort is not None):
        yield f"{where}.ort: expected a form for ONNX Runtime and nothing else"
        return
    if entry.ort is None:
        return
    # the loader takes weights from the file of this name beside the graph
    for name, ending in zip(entry.files, ("onnx", "weights"), strict=True):
        if name != f"{ENGINES}/{target}/{graph}.{ending}":
            yield f"{where}: expected {graph}.{ending}, got {name!r}"
    if entry.profiles or entry.compute_capability:
        yield f"{where}: a graph for ONNX Runtime has no profiles and no compute capability"


def _profile_faults(where: str, entry: EngineEntry, symbols: set[str]) -> Iterator[str]:
    for number, profile in enumerate(entry.profiles):
        place = f"{where}.profiles[{number}]"
        for symbol, sizes in profile.items():
            if symbol not in symbols:
                yield f"{place}.{symbol[:60]}: no axis of the graph"
            if list(sizes) != sorted(sizes):
                yield f"{place}.{symbol[:60]}: expected growing sizes, got {list(sizes)}"
