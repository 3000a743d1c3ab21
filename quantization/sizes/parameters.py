"""The parameters of every graph, as its dimensions give them.

They are those of the modules in `omnijet.export.modules`, which need torch; a test holds the two
against each other at all sizes and precisions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from omnijet.quantization.schemes import Half
from omnijet.runtime.bundle.contract import Precision
from omnijet.runtime.bundle.dims import (
    AudioEncoderDims,
    DecoderDims,
    DitDims,
    ModelDims,
    VisionEncoderDims,
    VocoderDims,
)

RESAMPLING = 7
"""Taps of each phase of the vocoder's resampling filters."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A tensor of a float graph with values from the checkpoint.

    Attributes:
        half: 16-bit type; None: f32.
        is_layer: whether an activation is multiplied with it, so that it can be quantized.
    """

    name: str
    shape: tuple[int, ...]
    half: Half = None
    is_layer: bool = False

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * (4 if self.half is None else 2)


def parameters_of(dims: ModelDims, precision: Precision) -> dict[str, list[Parameter]]:
    """Returns the parameters of each graph that a bundle of this model has, in the graph's order.

    Args:
        precision: that of the bundle; speech has its own (`omnijet.runtime.bundle.contract`).
    """
    half = half_of(precision)
    found = {
        "audio_encoder": list(_audio(dims.audio, half)),
        "vision_encoder": list(_vision(dims.vision, half)),
        "thinker_step": list(_decoder(dims.thinker, half)),
    }
    if dims.speech is not None:
        talker = dims.speech.talker
        found |= {
            "talker_step": [
                *_linear("projection", talker.embed_width, talker.hidden, half),
                *_decoder(talker, half),
            ],
            "dit_step": list(_dit(dims.speech.dit)),
            "vocoder": list(_vocoder(dims.speech.vocoder)),
        }
    return found


def half_of(precision: Precision) -> Half:
    """Returns the 16-bit type of a precision; None for f32."""
    return None if precision == "f32" else precision


def _linear(
    name: str, inputs: int, outputs: int, half: Half, bias: bool = True
) -> Iterator[Parameter]:
    yield Parameter(f"{name}.weight", (inputs, outputs), half, is_layer=True)
    if bias:
        yield Parameter(f"{name}.bias", (outputs,))


def _norm(name: str, width: int, bias: bool = False) -> Iterator[Parameter]:
    yield Parameter(f"{name}.weight", (width,))
    if bias:
        yield Parameter(f"{name}.bias", (width,))


def _conv(name: str, shape: tuple[int, ...], outputs: int, half: Half = None) -> list[Parameter]:
    return [Parameter(f"{name}.weight", shape, half), Parameter(f"{name}.bias", (outputs,))]


def _audio(dims: AudioEncoderDims, half: Half) -> Iterator[Parameter]:
    width = dims.hidden
    yield from _conv("conv1", (width, dims.n_mels, 3), width, half)
    yield from _conv("conv2", (width, width, 3), width, half)
    yield Parameter("positions.table", (dims.chunk_positions, width))
    for index in range(dims.layers):
        layer = f"layers.{index}"
        yield from _norm(f"{layer}.attention_norm", width, bias=True)
        for name in "qkv":
            yield from _linear(f"{layer}.{name}", width, width, half, bias=name != "k")
        yield from _linear(f"{layer}.output", width, width, half)
        yield from _norm(f"{layer}.mlp_norm", width, bias=True)
        yield from _linear(f"{layer}.up", width, dims.ffn, half)
        yield from _linear(f"{layer}.down", dims.ffn, width, half)
    yield from _norm("norm", width, bias=True)
    yield from _linear("projection", width, dims.out, half)


def _vision(dims: VisionEncoderDims, half: Half) -> Iterator[Parameter]:
    width, merged = dims.hidden, dims.hidden * dims.cell_patches
    yield from _linear("patch_embed", dims.patch_width, width, half, bias=False)
    for index in range(dims.layers):
        block = f"blocks.{index}"
        yield from _norm(f"{block}.attention_norm", width)
        yield from _linear(f"{block}.qkv", width, 3 * width, half)
        yield from _linear(f"{block}.output", width, width, half)
        yield from _norm(f"{block}.mlp_norm", width)
        yield from _linear(f"{block}.gate_up", width, 2 * dims.ffn, half)
        yield from _linear(f"{block}.down", dims.ffn, width, half)
    yield from _norm("merge_norm", width)
    yield from _linear("merge_up", merged, merged, half)
    yield from _linear("merge_down", merged, dims.out, half)


def _decoder(dims: DecoderDims, half: Half) -> Iterator[Parameter]:
    queries, keys = dims.heads * dims.head_dim, dims.kv_heads * dims.head_dim
    for index in range(dims.layers):
        layer = f"decoder.layers.{index}"
        yield from _norm(f"{layer}.input_norm", dims.hidden)
        yield from _linear(f"{layer}.qkv", dims.hidden, queries + 2 * keys, half)
        yield from _linear(f"{layer}.output", queries, dims.hidden, half, bias=False)
        yield from _norm(f"{layer}.mlp_norm", dims.hidden)
        yield from _linear(f"{layer}.gate_up", dims.hidden, 2 * dims.ffn, half, bias=False)
        yield from _linear(f"{layer}.down", dims.ffn, dims.hidden, half, bias=False)
    yield from _norm("decoder.norm", dims.hidden)
    yield from _linear("head", dims.hidden, dims.vocab, half, bias=False)


def _dit(dims: DitDims) -> Iterator[Parameter]:
    half = half_of(dims.products)
    inner, ffn = dims.heads * dims.head_dim, dims.hidden * dims.ff_mult
    yield from _linear("input", dims.mel, dims.hidden, None, bias=False)
    for index in range(dims.layers):
        block = f"blocks.{index}"
        yield from _linear(f"{block}.qkv", dims.hidden, 3 * inner, half)
        yield from _linear(f"{block}.output", inner, dims.hidden, half)
        yield from _linear(f"{block}.up", dims.hidden, ffn, half)
        yield from _linear(f"{block}.down", ffn, dims.hidden, half)
    yield from _linear("output", dims.hidden, dims.mel, None)


def _vocoder(dims: VocoderDims) -> Iterator[Parameter]:
    yield Parameter("resampler.up", (2, 1, RESAMPLING))
    yield Parameter("resampler.down", (1, 2, RESAMPLING))
    width, first = dims.channels, 0
    upsamples: list[Parameter] = []
    blocks: list[Parameter] = []
    for stage, kernel in enumerate(dims.kernels):
        narrow = width // 2
        upsamples += _conv(f"upsamples.{stage}", (width, narrow, 1, kernel), narrow)
        width = narrow
        for size, dilations in zip(dims.resblock_kernels, dims.resblock_dilations, strict=True):
            blocks += _amp_block(f"blocks.{first}", width, size, len(dilations))
            first += 1
    yield from _conv("before", (dims.channels, dims.mel, 1, 7), dims.channels)
    yield from (*upsamples, *blocks, *_snake("activation", width))
    yield Parameter("after.weight", (1, width, 1, 7))


def _amp_block(name: str, width: int, kernel: int, pairs: int) -> list[Parameter]:
    shape = (width, width, 1, kernel)
    found = [one for i in range(2 * pairs) for one in _snake(f"{name}.activations.{i}", width)]
    for kind in ("dilated", "plain"):
        for index in range(pairs):
            found += _conv(f"{name}.{kind}.{index}", shape, width)
    return found


def _snake(name: str, width: int) -> list[Parameter]:
    return [Parameter(f"{name}.{part}", (width, 1, 1)) for part in ("alpha", "reciprocal_beta")]
