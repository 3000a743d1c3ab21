"""The steps from a checkpoint to a bundle: read, verify, then write file after file."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace as replaced
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx_ir as ir

from omnijet.export.checkpoint.adapter import require_no_adapter
from omnijet.export.checkpoint.adapter_reading import WEIGHTS
from omnijet.export.checkpoint.folder import Checkpoint
from omnijet.export.checkpoint.origin import Origin
from omnijet.export.checkpoint.packing import Packing
from omnijet.export.checkpoint.supplies import Supplies, base_command, read_supplies
from omnijet.export.modules.base import weight_sources
from omnijet.export.modules.graph_modules import graph_modules
from omnijet.export.reference.record import with_references
from omnijet.export.trace.process import traced_graphs
from omnijet.export.weights.graph_writer import weight_bytes, write_graph
from omnijet.export.weights.packed_plan import packed_plan
from omnijet.export.weights.packed_weight import PackedPlan
from omnijet.export.weights.speech_tables import speech_tables
from omnijet.export.weights.tables import write_embedding, write_table
from omnijet.runtime.bundle.checked import note_written
from omnijet.runtime.bundle.contract import NUMPY_DTYPES, Precision, graph_contracts
from omnijet.runtime.bundle.dims import DecoderDims, DitProducts, ModelDims
from omnijet.runtime.bundle.finished import Finished
from omnijet.runtime.bundle.folder import CHAT_TEMPLATE, TOKENIZER
from omnijet.runtime.bundle.manifest import (
    FileEntry,
    Manifest,
    TableEntry,
    VoiceEntry,
    hash_file,
)
from omnijet.runtime.bundle.output import require_place, staged_bundle
from omnijet.runtime.bundle.ranges import label
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.names import shell_quoted
from omnijet.runtime.leftovers import temporary_folder

_log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Receives (current step, bytes done, total bytes)."""


def export_bundle(
    source: Path,
    target: Path,
    precision: Precision = "f32",
    *,
    base: Path | None = None,
    adapters: Sequence[Path] = (),
    speech: bool = True,
    dit: DitProducts = "f32",
    replace: bool = False,
    named: str | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Manifest:
    """Exports the checkpoint in folder `source` to the bundle `target`.

    The configuration, the voices and the names, shapes and dtypes of all weights are
    checked before anything is written. Memory use does not grow with the checkpoint. A run that
    ended for want of disk, or was killed, is continued by the next one with the same arguments:
    finished graphs are taken over.

    Args:
        source: The checkpoint folder.
        target: The bundle folder. It appears complete or not at all.
        precision: The dtype of Thinker, Talker and encoders; speech synthesis stays f32,
            but for `dit`.
        base: The folder of the model that `source` was tuned from: what is missing comes from
            there.
        adapters: The folders of LoRA adapters, which are merged with the weights in this order.
        speech: Whether the bundle speaks. Without Talker, DiT and vocoder it hears, sees and
            writes only; so does that of a checkpoint with `enable_audio_output: false`.
        dit: What the products of the DiT multiply; everything between them stays f32.
        replace: Whether an existing bundle at `target` may be replaced, as the last step.
        named: How the user named the checkpoint, for messages; its folder by default.
        progress: Receives the current step, the bytes done and the total bytes.

    Returns:
        The manifest of the bundle.

    Raises:
        OmnijetError: The checkpoint cannot be used, an adapter cannot be merged, a weight is not
            finite, or the disk lacks space.
    """
    require_place(target, replace=replace)
    require_no_adapter(source, target, named or str(source))
    checkpoint = Checkpoint.open(source, base=base, speech=speech)
    dims = with_products(checkpoint.dims, dit, source)
    export = f"omnijet export {shell_quoted(named or source)} {shell_quoted(target)}"
    supplies = read_supplies(checkpoint, export)
    checkpoint.merge(adapters)
    if speech and not dims.has_voice:
        _warn_of_silence(checkpoint, export)
    modules = graph_modules(dims, precision)
    sources = {name: weight_sources(module) for name, module in modules.items()}
    packed = packed_plan(checkpoint, sources)
    sizes = {name: weight_bytes(module, packed[name]) for name, module in modules.items()}
    needed = sum(sizes.values()) + _table_bytes(dims, precision)
    # the largest graph comes first: its weights are written while the others are traced
    order = sorted(modules, key=lambda name: -sizes[name])
    contracts = graph_contracts(dims, precision)
    origin = Origin.of(checkpoint, adapters)
    key = origin.key(precision, dims)
    with ExitStack() as stack:
        folder = stack.enter_context(
            staged_bundle(target, replace=replace, needed_bytes=int(1.02 * needed), key=key)
        )
        finished = Finished(folder)
        graphs = finished.take_over(order)
        order = [name for name in order if name not in graphs]
        scratch = stack.enter_context(temporary_folder("traced-", folder.parent))
        arriving: Iterator[tuple[str, ir.Model]] = iter(())
        if order:
            arriving = stack.enter_context(traced_graphs(order, dims, precision, scratch))
        done = sum(sizes[name] for name in graphs)

        def advance(count: int) -> None:
            nonlocal done
            done += count
            progress("writing weights", min(done, needed), needed)

        (folder / "tables").mkdir()
        progress("writing tables", 0, needed)
        tables, files = _write_tables(checkpoint, dims, precision, folder)
        if dims.has_voice:
            for name, array in speech_tables(dims, checkpoint, supplies.voices).items():
                tables[name] = write_table(array, folder / "tables", name)
        advance(_table_bytes(dims, precision))
        for name, model in arriving:
            graphs[name] = write_graph(
                model, sources[name], contracts[name], checkpoint, folder, advance, packed[name]
            )
            finished.keep(name, graphs[name])
            if len(graphs) < len(modules):
                progress("tracing graphs", min(done, needed), needed)
        _write_texts(supplies, folder)
        origin.require_unedited()
        files.update(_hash_files(folder, files))
        finished.put_in_place()
        for graph in graphs.values():
            files.update(graph.files)
        manifest = Manifest(
            name=label(source.resolve().name),
            precision=precision,
            dims=dims,
            graphs={name: graphs[name].entry for name in modules},
            tables=tables,
            voices={name: VoiceEntry(voice.bos_token) for name, voice in supplies.voices.items()},
            preprocessor=supplies.preprocessing.to_json(),
            files=dict(sorted(files.items())),
            versions=_versions(),
            provenance=_provenance(checkpoint, supplies),
            quantization=_quantization(checkpoint.packing, packed),
            picks_rows=True,
            joins_pictures=True,
        )
        manifest.write(folder)
        manifest = with_references(
            folder, manifest, manifest.graphs,
            lambda what, count, total: progress(what, needed * count // total, needed),
        )  # fmt: skip
        manifest.write(folder)
    note_written(target)
    return manifest


def with_products(dims: ModelDims, products: DitProducts, source: Path) -> ModelDims:
    """Returns the same model with these products in its DiT.

    Raises:
        OmnijetError: it has no DiT.
    """
    if products == "f32":
        return dims
    if dims.speech is None:
        raise OmnijetError(
            "there is no DiT whose products could be chosen",
            where=source,
            expected="a checkpoint that speaks, exported with its voice",
            got=f"no voice, and --dit {products}",
            fix="leave out --dit",
        )
    dit = replaced(dims.speech.dit, products=products)
    return replaced(dims, speech=replaced(dims.speech, dit=dit))


def _warn_of_silence(checkpoint: Checkpoint, export: str) -> None:
    why = "it is a Thinker alone" if checkpoint.is_thinker else "enable_audio_output is false"
    way = base_command(checkpoint, export)
    _log.warning("%s: %s: the bundle will have no voice; with one: %s", checkpoint.folder, why, way)


def _write_texts(supplies: Supplies, folder: Path) -> None:
    (folder / TOKENIZER).write_text(supplies.tokenizer, encoding="utf-8")
    (folder / CHAT_TEMPLATE).write_text(supplies.chat_template, encoding="utf-8")


def _write_tables(
    checkpoint: Checkpoint, dims: ModelDims, precision: Precision, folder: Path
) -> tuple[dict[str, TableEntry], dict[str, FileEntry]]:
    """Writes the embedding tables, which are part of no graph: the runtime maps them."""
    tables: dict[str, TableEntry] = {}
    files: dict[str, FileEntry] = {}
    for part, decoder in _decoders(dims).items():
        name, key = f"{part}_embedding", f"{part}.model.embed_tokens.weight"
        size, path = (decoder.vocab, decoder.embed_width), folder / "tables" / f"{name}.npy"
        tables[name], written = write_embedding(checkpoint, key, size, precision, path)
        files[tables[name].file] = written
    return tables, files


def _table_bytes(dims: ModelDims, precision: Precision) -> int:
    """Returns the size of the embedding tables in bytes."""
    values = sum(part.vocab * part.embed_width for part in _decoders(dims).values())
    return values * NUMPY_DTYPES[precision].itemsize


def _decoders(dims: ModelDims) -> dict[str, DecoderDims]:
    talker = {} if dims.speech is None else {"talker": dims.speech.talker}
    return {"thinker": dims.thinker, **talker}


def _hash_files(folder: Path, known: Container[str]) -> dict[str, FileEntry]:
    """Hashes the files that were not hashed while they were written; they are small."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {
        name: hash_file(path)
        for name, path in paths.items()
        if path.is_file() and name not in known
    }


def _versions() -> dict[str, str]:
    packages = ("omnijet", "torch", "onnx", "onnx-ir", "onnxscript")
    found = {"python": platform.python_version()}
    for package in packages:
        found[package] = version(package)
    return found


def _quantization(packing: Packing | None, packed: Mapping[str, PackedPlan]) -> dict[str, Any]:
    """Describes the packed weights of the checkpoint; empty for a float checkpoint."""
    layers = {name: len(plan) for name, plan in packed.items() if plan}
    if packing is None or not layers:
        return {}
    parts = [part for plan in packed.values() for weight in plan.values() for part in weight]
    return {
        "recipe": f"{packing.method} checkpoint",
        "needs": [f"int{packing.bits} weights"],
        "bits": packing.bits,
        "block": packing.group,
        "zero_points": not all(part.symmetric for part in parts),
        "sorted_inputs": any(part.order is not None for part in parts),
        "layers": layers,
    }


def _provenance(checkpoint: Checkpoint, supplies: Supplies) -> dict[str, Any]:
    base: dict[str, Any] = {}
    if checkpoint.base is not None:
        origins = {**checkpoint.origins, **supplies.origins}
        base = {
            "base": label(checkpoint.base.resolve().name),
            "origins": {what: label(folder.resolve().name) for what, folder in origins.items()},
        }
    adapters = [
        {
            "name": label(adapter.folder.resolve().name),
            "merged": adapter.summary,
            "sha256": hash_file(adapter.folder / WEIGHTS).sha256,
        }
        for adapter in checkpoint.adapters
    ]
    return {
        "checkpoint": label(checkpoint.folder.resolve().name),
        **base,
        **({"adapters": adapters} if adapters else {}),
        "config_sha256": hash_file(checkpoint.folder / "config.json").sha256,
        "exported_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
