"""Derives key, shape and dtype of every tensor of a checkpoint from its dimensions.

Names and shapes are those of `Qwen2_5OmniForConditionalGeneration.state_dict()` in
transformers 4.57.6; the published 7B files hold 2448 tensors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from omnijet.runtime.bundle.dims import (
    AudioEncoderDims,
    DecoderDims,
    DitDims,
    EcapaDims,
    ModelDims,
    VisionEncoderDims,
    VocoderDims,
)

StoredDType = Literal["bf16", "f16", "f32", "i32"]
Named = tuple[str, tuple[int, ...]]

AUDIO = "thinker.audio_tower"
VISION = "thinker.visual"
DIT = "token2wav.code2wav_dit_model"
VOCODER = "token2wav.code2wav_bigvgan_model"
SPEAKING = ("talker.", "token2wav.")
"""How the keys of the parts that speak begin."""

_TIME_FREQUENCIES = 256  # width of the DiT's sinusoidal time vector
_UNUSED = frozenset({f"{AUDIO}.audio_bos_eos_token.weight"})


@dataclass(frozen=True, slots=True)
class TensorLayout:
    """The tensor that a checkpoint must hold under one key."""

    shape: tuple[int, ...]
    dtype: StoredDType  # the published dtype; a checkpoint may store another float dtype
    used: bool = True  # whether inference reads it
    buffer: bool = False  # a buffer is no parameter and is not counted as one

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


def checkpoint_layout(dims: ModelDims) -> dict[str, TensorLayout]:
    """Returns all tensors by key, in the order of the model's modules.

    Those of the parts that speak are missing if `dims` have no voice.
    """
    layout: dict[str, TensorLayout] = {}

    def add(named: Iterable[Named], dtype: StoredDType) -> None:
        for key, shape in named:
            buffer = key.endswith(".inv_freq")
            layout[key] = TensorLayout(shape, dtype, key not in _UNUSED, buffer)

    add(_audio(dims.audio), "bf16")
    add(_vision(dims.vision), "bf16")
    add(_decoder("thinker.model", dims.thinker), "bf16")
    add(_linear("thinker.lm_head", dims.thinker.hidden, dims.thinker.vocab, bias=False), "bf16")
    if dims.speech is None:
        return layout
    talker = dims.speech.talker
    add(_linear("talker.thinker_to_talker_proj", talker.embed_width, talker.hidden), "bf16")
    add(_decoder("talker.model", talker), "bf16")
    add(_linear("talker.codec_head", talker.hidden, talker.vocab, bias=False), "bf16")
    add(_dit(dims.dit, dims.ecapa), "f32")
    add(_vocoder(dims.vocoder), "f32")
    return layout


def _linear(name: str, inputs: int, outputs: int, *, bias: bool = True) -> Iterator[Named]:
    yield f"{name}.weight", (outputs, inputs)
    if bias:
        yield f"{name}.bias", (outputs,)


def _conv(name: str, inputs: int, outputs: int, *kernel: int, bias: bool = True) -> Iterator[Named]:
    yield f"{name}.weight", (outputs, inputs, *kernel)
    if bias:
        yield f"{name}.bias", (outputs,)


def _layer_norm(name: str, width: int) -> Iterator[Named]:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _audio(dims: AudioEncoderDims) -> Iterator[Named]:
    hidden = dims.hidden
    yield from _conv(f"{AUDIO}.conv1", dims.n_mels, hidden, 3)
    yield from _conv(f"{AUDIO}.conv2", hidden, hidden, 3)
    yield f"{AUDIO}.audio_bos_eos_token.weight", (2, dims.out)
    for index in range(dims.layers):
        layer = f"{AUDIO}.layers.{index}"
        for name in ("k", "v", "q", "out"):
            bias = name != "k"
            yield from _linear(f"{layer}.self_attn.{name}_proj", hidden, hidden, bias=bias)
        yield from _layer_norm(f"{layer}.self_attn_layer_norm", hidden)
        yield from _linear(f"{layer}.fc1", hidden, dims.ffn)
        yield from _linear(f"{layer}.fc2", dims.ffn, hidden)
        yield from _layer_norm(f"{layer}.final_layer_norm", hidden)
    yield from _layer_norm(f"{AUDIO}.ln_post", hidden)
    yield from _linear(f"{AUDIO}.proj", hidden, dims.out)


def _vision(dims: VisionEncoderDims) -> Iterator[Named]:
    hidden, patch = dims.hidden, (dims.temporal_patch, dims.patch, dims.patch)
    embed = f"{VISION}.patch_embed.proj"
    yield from _conv(embed, dims.in_channels, hidden, *patch, bias=False)
    for index in range(dims.layers):
        block = f"{VISION}.blocks.{index}"
        yield f"{block}.norm1.weight", (hidden,)
        yield f"{block}.norm2.weight", (hidden,)
        for name in ("q", "k", "v", "proj"):
            yield from _linear(f"{block}.attn.{name}", hidden, hidden)
        yield from _swiglu(f"{block}.mlp", hidden, dims.ffn, bias=True)
    merged = hidden * dims.cell_patches
    yield f"{VISION}.merger.ln_q.weight", (hidden,)
    yield from _linear(f"{VISION}.merger.mlp.0", merged, merged)
    yield from _linear(f"{VISION}.merger.mlp.2", merged, dims.out)


def _swiglu(name: str, hidden: int, ffn: int, *, bias: bool) -> Iterator[Named]:
    yield from _linear(f"{name}.gate_proj", hidden, ffn, bias=bias)
    yield from _linear(f"{name}.up_proj", hidden, ffn, bias=bias)
    yield from _linear(f"{name}.down_proj", ffn, hidden, bias=bias)


def _decoder(name: str, dims: DecoderDims) -> Iterator[Named]:
    hidden, heads = dims.hidden, dims.heads * dims.head_dim
    kv_heads = dims.kv_heads * dims.head_dim
    yield f"{name}.embed_tokens.weight", (dims.vocab, dims.embed_width)
    for index in range(dims.layers):
        layer = f"{name}.layers.{index}"
        yield from _linear(f"{layer}.self_attn.q_proj", hidden, heads)
        yield from _linear(f"{layer}.self_attn.k_proj", hidden, kv_heads)
        yield from _linear(f"{layer}.self_attn.v_proj", hidden, kv_heads)
        yield from _linear(f"{layer}.self_attn.o_proj", heads, hidden, bias=False)
        yield from _swiglu(f"{layer}.mlp", hidden, dims.ffn, bias=False)
        yield f"{layer}.input_layernorm.weight", (hidden,)
        yield f"{layer}.post_attention_layernorm.weight", (hidden,)
    yield f"{name}.norm.weight", (hidden,)


def _dit(dims: DitDims, ecapa: EcapaDims) -> Iterator[Named]:
    hidden, heads, ff = dims.hidden, dims.heads * dims.head_dim, dims.hidden * dims.ff_mult
    yield from _linear(f"{DIT}.time_embed.time_mlp.0", _TIME_FREQUENCIES, hidden)
    yield from _linear(f"{DIT}.time_embed.time_mlp.2", hidden, hidden)
    yield f"{DIT}.text_embed.codec_embed.weight", (dims.codec_rows, dims.codec_embed)
    joined = dims.mel + dims.speaker_embed + dims.codec_embed + dims.speaker_cond
    yield from _linear(f"{DIT}.input_embed.proj", joined, hidden)
    yield from _ecapa(f"{DIT}.input_embed.spk_encoder", ecapa)
    yield f"{DIT}.rotary_embed.inv_freq", (dims.head_dim // 2,)
    for index in range(dims.layers):
        block = f"{DIT}.transformer_blocks.{index}"
        yield from _linear(f"{block}.attn_norm.linear", hidden, 6 * hidden)
        for name in ("to_q", "to_k", "to_v"):
            yield from _linear(f"{block}.attn.{name}", hidden, heads)
        yield from _linear(f"{block}.attn.to_out.0", heads, hidden)
        yield from _linear(f"{block}.ff.ff.0", hidden, ff)
        yield from _linear(f"{block}.ff.ff.3", ff, hidden)
    yield from _linear(f"{DIT}.norm_out.linear", hidden, 2 * hidden)
    yield from _linear(f"{DIT}.proj_out", hidden, dims.mel)


def _ecapa(name: str, dims: EcapaDims) -> Iterator[Named]:
    widths, kernels = dims.channels, dims.kernels
    yield from _conv(f"{name}.blocks.0.conv", dims.mel, widths[0], kernels[0])
    for index in range(1, len(widths) - 1):
        block, width = f"{name}.blocks.{index}", widths[index]
        part = width // dims.res2net_scale
        yield from _conv(f"{block}.tdnn1.conv", widths[index - 1], width, 1)
        for piece in range(dims.res2net_scale - 1):
            conv = f"{block}.res2net_block.blocks.{piece}.conv"
            yield from _conv(conv, part, part, kernels[index])
        yield from _conv(f"{block}.tdnn2.conv", width, width, 1)
        yield from _conv(f"{block}.se_block.conv1", width, dims.se_channels, 1)
        yield from _conv(f"{block}.se_block.conv2", dims.se_channels, width, 1)
    joined = widths[-1]
    yield from _conv(f"{name}.mfa.conv", joined, joined, kernels[-1])
    yield from _conv(f"{name}.asp.tdnn.conv", 3 * joined, dims.attention_channels, 1)
    yield from _conv(f"{name}.asp.conv", dims.attention_channels, joined, 1)
    yield from _conv(f"{name}.fc", 2 * joined, dims.out, 1)


def _vocoder(dims: VocoderDims) -> Iterator[Named]:
    yield from _conv(f"{VOCODER}.conv_pre", dims.mel, dims.channels, 7)
    width = dims.channels
    for stage, kernel in enumerate(dims.kernels):
        # a transposed convolution stores its inputs first
        yield f"{VOCODER}.ups.{stage}.0.weight", (width, width // 2, kernel)
        yield f"{VOCODER}.ups.{stage}.0.bias", (width // 2,)
        width //= 2
    block = 0
    for stage in range(len(dims.kernels)):
        width = dims.channels >> (stage + 1)
        for kernel in dims.resblock_kernels:
            yield from _amp_block(f"{VOCODER}.resblocks.{block}", width, kernel)
            block += 1
    yield from _snake(f"{VOCODER}.activation_post", width)
    yield from _conv(f"{VOCODER}.conv_post", width, 1, 7, bias=False)


def _amp_block(name: str, width: int, kernel: int) -> Iterator[Named]:
    for convs in ("convs1", "convs2"):
        for index in range(3):
            yield from _conv(f"{name}.{convs}.{index}", width, width, kernel)
    for index in range(6):
        yield from _snake(f"{name}.activations.{index}", width)


def _snake(name: str, width: int) -> Iterator[Named]:
    yield f"{name}.act.alpha", (width,)
    yield f"{name}.act.beta", (width,)
