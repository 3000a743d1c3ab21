"""The one contract: every graph's boundary, declared once.

Names, dtypes, axes and carried state of all graphs are written here and nowhere
else. The exporter's dynamic shapes, sample feeds, engine profiles, the runtime's
checks and the manifest are derived from it.

An axis is an int (fixed by the model), a symbol declared in `AXES`, or a multiple of
one, written `"4*cells"`. State (the KV cache) is declared as pairs: which output is
next step's input. It is never parsed out of tensor names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from omnijet.runtime.bundle.dims import DecoderDims, DitDims, ModelDims, VocoderDims
from omnijet.runtime.errors import ContractError

Precision = Literal["f32", "f16", "bf16"]
DType = Literal["f32", "f16", "bf16", "i64", "bool"]
Array = npt.NDArray[Any]

NUMPY_DTYPES: dict[DType, np.dtype[Any]] = {
    "f32": np.dtype(np.float32),
    "f16": np.dtype(np.float16),
    "bf16": np.dtype(np.uint16),  # held as bits: numpy has no bf16, and 0 bits are 0.0
    "i64": np.dtype(np.int64),
    "bool": np.dtype(np.bool_),
}


def widened(array: Array) -> Array:
    """Returns an f32 copy of f32, f16, or bf16 held as bits: bf16 is the upper half of f32."""
    if array.dtype == NUMPY_DTYPES["bf16"]:
        return (array.astype(np.uint32) << 16).view(np.float32)
    result: Array = array.astype(np.float32)
    return result


AXES: dict[str, str] = {
    "chunks": "audio chunks of 2 s in this call",
    "tokens": "audio tokens in the output",
    "cells": "merged picture cells (4 patches each) in this call",
    "windows": "attention windows in this call",
    "pictures": "pictures of one size in this call: a clip's frames",
    "picture_cells": "merged cells of one of these pictures",
    "rows": "tokens fed in this call: many in prefill, one or a few in decode",
    "picked": "rows of this call whose logits are computed",
    "capacity": "length of the KV cache",
    "branches": "guidance branches: conditioned, then unconditioned",
    "blocks": "attention blocks of mel frames",
    "frames": "mel frames",
}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output: its name, dtype and axes."""

    name: str
    dtype: DType
    axes: tuple[int | str, ...]

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Returns the concrete shape for given sizes of the symbols."""
        return tuple(axis if isinstance(axis, int) else _size(axis, sizes) for axis in self.axes)


@dataclass(frozen=True, slots=True)
class StatePair:
    """Carried state: `output` of one call is `input` of the next, in the same buffer."""

    input: str
    output: str


@dataclass(frozen=True, slots=True)
class GraphContract:
    """The complete boundary of one graph: its inputs, outputs and carried state."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    state: tuple[StatePair, ...] = ()

    def __post_init__(self) -> None:
        for spec in self.inputs + self.outputs:
            for axis in spec.axes:
                if isinstance(axis, str):
                    assert split_axis(axis)[1] in AXES, f"{self.name}.{spec.name}: axis {axis}"
        names = [spec.name for spec in self.inputs + self.outputs]
        assert len(set(names)) == len(names), f"{self.name}: a name is used twice"
        for pair in self.state:
            assert self.input(pair.input).axes == self.output(pair.output).axes

    def input(self, name: str) -> TensorSpec:
        return next(spec for spec in self.inputs if spec.name == name)

    def output(self, name: str) -> TensorSpec:
        return next(spec for spec in self.outputs if spec.name == name)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The axis symbols in use, in order of appearance."""
        found: dict[str, None] = {}
        for spec in self.inputs + self.outputs:
            for axis in spec.axes:
                if isinstance(axis, str):
                    found[split_axis(axis)[1]] = None
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        def specs(items: Iterable[TensorSpec]) -> list[dict[str, Any]]:
            return [{"name": s.name, "dtype": s.dtype, "axes": list(s.axes)} for s in items]

        return {
            "name": self.name,
            "inputs": specs(self.inputs),
            "outputs": specs(self.outputs),
            "state": [[pair.input, pair.output] for pair in self.state],
        }


def split_axis(axis: str) -> tuple[int, str]:
    """Splits an axis: `"4*cells"` -> (4, "cells"), and `"cells"` -> (1, "cells")."""
    factor, _, symbol = axis.rpartition("*")
    return (int(factor) if factor else 1), symbol


def _size(axis: str, sizes: Mapping[str, int]) -> int:
    factor, symbol = split_axis(axis)
    return factor * sizes[symbol]


def wide_contract(
    contract: GraphContract, narrow: Collection[str] = ("f16", "bf16")
) -> GraphContract:
    """Returns the contract of the same graph in f32: caches of the narrow types are f32, too."""

    def wide(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        return tuple(replace(s, dtype="f32") if s.dtype in narrow else s for s in specs)

    return replace(contract, inputs=wide(contract.inputs), outputs=wide(contract.outputs))


SPEECH_GRAPHS = ("talker_step", "dit_step", "vocoder")
"""The graphs that a model without a voice lacks."""


def graph_contracts(
    dims: ModelDims,
    precision: Precision,
    *,
    picks_rows: bool = True,
    joins_pictures: bool = True,
) -> dict[str, GraphContract]:
    """Returns the contracts of one checkpoint's graphs, by name: six, or three without a voice.

    Args:
        picks_rows: whether the Thinker computes logits of the rows that `head_rows` names; the
            graphs of older bundles have no such input, and compute those of the last row.
        joins_pictures: whether the vision encoder takes several pictures in one call; the graphs
            of older bundles take one.

    Sound synthesis stays f32 in every precision: in 16 bits, the DiT and SnakeBeta fall silent
    or overflow. The Thinker's graph is the same with and without a voice: so are its weights,
    its engines and its numbers, and the copy of `hidden` that nobody reads is small.
    """
    contracts = [
        _audio_encoder(dims),
        _vision_encoder(dims, joins_pictures),
        _decoder_step(
            "thinker_step", dims.thinker, precision, hidden_out=True, picks_rows=picks_rows
        ),
    ]
    if dims.speech is not None:
        contracts += [
            _decoder_step(
                "talker_step", dims.speech.talker, precision, hidden_out=False, picks_rows=False
            ),
            _dit_step(dims.speech.dit),
            _vocoder(dims.speech.vocoder),
        ]
    return {contract.name: contract for contract in contracts}


def _audio_encoder(dims: ModelDims) -> GraphContract:
    audio = dims.audio
    return GraphContract(
        "audio_encoder",
        inputs=(
            TensorSpec("mel", "f32", ("chunks", audio.n_mels, audio.chunk_frames)),
            # 1 where a mel frame is real; it also zeroes what conv1 smears into the padding
            TensorSpec("frame_mask", "f32", ("chunks", 1, audio.chunk_frames)),
            TensorSpec("key_mask", "bool", ("chunks", 1, 1, audio.chunk_positions)),
            # the two flat positions (chunk * chunk_positions + i) that are pooled into each token
            TensorSpec("pool_rows", "i64", ("tokens", 2)),
        ),
        outputs=(TensorSpec("features", "f32", ("tokens", audio.out)),),
    )


def _vision_encoder(dims: ModelDims, joins_pictures: bool) -> GraphContract:
    vision = dims.vision
    patches = f"{vision.cell_patches}*cells"
    half = vision.head_dim // 2
    # the patches of each picture, which attend to each other in layers without windows: 0, 1, 2
    # and so on, since patches stand picture after picture
    picture_rows = TensorSpec(
        "picture_rows", "i64", ("pictures", f"{vision.cell_patches}*picture_cells")
    )
    return GraphContract(
        "vision_encoder",
        inputs=(
            # picture after picture; the patches of each are already in window order
            TensorSpec("patches", "f32", (patches, vision.patch_width)),
            TensorSpec("cos", "f32", (1, patches, half)),
            TensorSpec("sin", "f32", (1, patches, half)),
            # rows of `patches` in each window, short windows padded with any row; as many windows
            # for each picture
            TensorSpec("window_rows", "i64", ("windows", vision.window_patches)),
            TensorSpec("window_mask", "bool", ("windows", 1, 1, vision.window_patches)),
            # where each patch sits in the flattened windows: the inverse of window_rows
            TensorSpec("window_slots", "i64", (patches,)),
            *((picture_rows,) if joins_pictures else ()),
        ),
        outputs=(TensorSpec("features", "f32", ("cells", vision.out)),),
    )


def _decoder_step(
    name: str, decoder: DecoderDims, precision: Precision, *, hidden_out: bool, picks_rows: bool
) -> GraphContract:
    half = decoder.head_dim // 2
    cache_axes = (1, decoder.kv_heads, "capacity", decoder.head_dim)
    caches = [f"{kind}_cache_{i}" for i in range(decoder.layers) for kind in ("key", "value")]
    # of the rows picked, or of the last one alone: the head is the widest product of all
    logits = TensorSpec("logits", "f32", ("picked" if picks_rows else 1, decoder.vocab))
    picks = (TensorSpec("head_rows", "i64", ("picked",)),) if picks_rows else ()
    outputs = [logits]
    if hidden_out:
        # after the final norm, all rows: the Talker reads them
        outputs.append(TensorSpec("hidden", "f32", (1, "rows", decoder.hidden)))
    return GraphContract(
        name,
        inputs=(
            TensorSpec("embeds", "f32", (1, "rows", decoder.embed_width)),
            TensorSpec("cos", "f32", (1, "rows", half)),
            TensorSpec("sin", "f32", (1, "rows", half)),
            TensorSpec("mask", "bool", (1, 1, "rows", "capacity")),
            TensorSpec("write_index", "i64", (1,)),
            *picks,
            *(TensorSpec(cache, precision, cache_axes) for cache in caches),
        ),
        outputs=(*outputs, *(TensorSpec(f"{c}_next", precision, cache_axes) for c in caches)),
        state=tuple(StatePair(cache, f"{cache}_next") for cache in caches),
    )


def _dit_step(dit: DitDims) -> GraphContract:
    frames = f"{dit.block}*blocks"
    half = dit.head_dim // 2
    # not declared as state: a solver keeps one `past` for each of its evaluations
    past = (2 * len(dit.look_back_layers), f"{dit.heads}*branches", dit.block, dit.head_dim)
    return GraphContract(
        "dit_step",
        inputs=(
            TensorSpec("x", "f32", (1, frames, dit.mel)),
            # the input projection of codes and speaker, constant in time
            TensorSpec("static", "f32", ("branches", frames, dit.hidden)),
            # AdaLN vectors of this time point: shift, scale and gate, for attention and the MLP
            TensorSpec("modulation", "f32", (dit.layers, 6, dit.hidden)),
            TensorSpec("modulation_out", "f32", (2, dit.hidden)),  # scale, shift
            TensorSpec("cos", "f32", (1, frames, half)),
            TensorSpec("sin", "f32", (1, frames, half)),
            # the keys a block may see: its own, the previous and its own, its own and the next
            TensorSpec("mask_self", "bool", ("blocks", 1, 1, dit.block)),
            TensorSpec("mask_back", "bool", ("blocks", 1, 1, 2 * dit.block)),
            TensorSpec("mask_ahead", "bool", ("blocks", 1, 1, 2 * dit.block)),
            # keys and values of the block before the first, for each layer that looks back
            TensorSpec("past", "f32", past),
            TensorSpec("commit", "i64", (1,)),  # the block whose keys and values are returned
        ),
        outputs=(
            TensorSpec("velocity", "f32", ("branches", frames, dit.mel)),
            TensorSpec("past_next", "f32", past),
        ),
    )


def _vocoder(vocoder: VocoderDims) -> GraphContract:
    return GraphContract(
        "vocoder",
        inputs=(TensorSpec("mel", "f32", (1, vocoder.mel, "frames")),),
        outputs=(TensorSpec("wave", "f32", (1, f"{vocoder.hop}*frames")),),
    )


@dataclass(frozen=True, slots=True)
class FoundTensor:
    """An input or output as a graph file declares it; unknown axes are None."""

    name: str
    dtype: str
    axes: tuple[int | str | None, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join('?' if a is None else str(a) for a in self.axes)}]"


def verify(
    contract: GraphContract,
    inputs: Iterable[FoundTensor],
    outputs: Iterable[FoundTensor],
    where: object,
    fix: str = "export the bundle again with this version of omnijet",
) -> None:
    """Compares the boundary that a graph file declares with its contract.

    Raises:
        ContractError: lists every tensor that is missing, unknown or different.
    """
    faults: list[str] = []
    for kind, specs, found in (
        ("input", contract.inputs, list(inputs)),
        ("output", contract.outputs, list(outputs)),
    ):
        by_name = {tensor.name: tensor for tensor in found}
        for spec in specs:
            tensor = by_name.pop(spec.name, None)
            wanted = FoundTensor(spec.name, spec.dtype, spec.axes)
            if tensor is None:
                faults.append(f"{kind} {spec.name}: expected {wanted}, got nothing")
            elif tensor != wanted:
                faults.append(f"{kind} {spec.name}: expected {wanted}, got {tensor}")
        faults += [f"{kind} {name}: not in the contract ({t})" for name, t in by_name.items()]
    if faults:
        raise ContractError(
            f"graph {contract.name} does not keep its contract ({len(faults)} differences)",
            where=where,
            expected=f"the boundary of {contract.name} declared in runtime/bundle/contract.py",
            got="\n            ".join(faults),
            fix=fix,
        )
