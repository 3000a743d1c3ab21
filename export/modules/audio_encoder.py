"""The graph `audio_encoder`: Whisper-like layers over independent chunks of 2 s.

Source: `Qwen2_5OmniAudioEncoder` of transformers 4.57.6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, embedding, gelu

from omnijet.export.modules import ops
from omnijet.export.modules.base import TORCH_DTYPES, Linear, Source, Sourced
from omnijet.export.modules.layers import LayerNorm, for_every_query, merge_heads, split_heads
from omnijet.runtime.bundle.contract import Precision
from omnijet.runtime.bundle.dims import AudioEncoderDims

KEY = "thinker.audio_tower"
MAX_TIMESCALE = 10_000


class Conv(Sourced):
    """A convolution over 3 mel frames, computed in f32 for every dtype of its weights."""

    weight: Tensor
    bias: Tensor

    def __init__(
        self, key: str, inputs: int, outputs: int, stride: int, precision: Precision
    ) -> None:
        super().__init__()
        self.stride = stride
        shape = (outputs, inputs, 3)
        self.add("weight", shape, Source((f"{key}.weight",), (shape,)), TORCH_DTYPES[precision])
        self.add("bias", (outputs,), Source((f"{key}.bias",), ((outputs,),)))

    def forward(self, x: Tensor) -> Tensor:
        return conv1d(x, self.weight.float(), self.bias, stride=self.stride, padding=1)


class Positions(Sourced):
    """Sinusoidal positions that restart in every chunk; the checkpoint does not store them."""

    table: Tensor

    def __init__(self, positions: int, width: int) -> None:
        super().__init__()

        def table(_: Sequence[Tensor]) -> Tensor:
            step = math.log(MAX_TIMESCALE) / (width // 2 - 1)
            rates = torch.exp(-step * torch.arange(width // 2).float())
            angles = torch.arange(positions)[:, None] * rates[None, :]
            return torch.cat([angles.sin(), angles.cos()], dim=1)

        self.add("table", (positions, width), Source((), (), fold=table))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table


class Layer(nn.Module):
    """One encoder layer: pre-norm attention inside a chunk, then a GELU MLP."""

    def __init__(self, key: str, dims: AudioEncoderDims, precision: Precision) -> None:
        super().__init__()
        self.dims = dims
        self.dtype = TORCH_DTYPES[precision]
        width = dims.hidden
        self.attention_norm = LayerNorm(f"{key}.self_attn_layer_norm", width)

        def linear(name: str, inputs: int, outputs: int, bias: bool = True) -> Linear:
            return Linear(f"{key}.{name}", inputs, outputs, bias=bias, precision=precision)

        self.q = linear("self_attn.q_proj", width, width)
        self.k = linear("self_attn.k_proj", width, width, bias=False)
        self.v = linear("self_attn.v_proj", width, width)
        self.output = linear("self_attn.out_proj", width, width)
        self.mlp_norm = LayerNorm(f"{key}.final_layer_norm", width)
        self.up = linear("fc1", width, dims.ffn)
        self.down = linear("fc2", dims.ffn, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        dims = self.dims
        normed = self.attention_norm(x)
        q, k, v = (
            split_heads(part(normed), dims.heads, dims.head_dim).to(self.dtype)
            for part in (self.q, self.k, self.v)
        )
        x = x + self.output(merge_heads(ops.attention(q, k, v, mask)))
        y: Tensor = x + self.down(gelu(self.up(self.mlp_norm(x))))
        return y


class AudioEncoder(nn.Module):
    """The audio encoder: mel f32[chunks, n_mels, 200] -> features f32[tokens, out]."""

    def __init__(self, dims: AudioEncoderDims, precision: Precision) -> None:
        super().__init__()
        self.dims = dims
        self.conv1 = Conv(f"{KEY}.conv1", dims.n_mels, dims.hidden, 1, precision)
        self.conv2 = Conv(f"{KEY}.conv2", dims.hidden, dims.hidden, 2, precision)
        self.positions = Positions(dims.chunk_positions, dims.hidden)
        self.layers = nn.ModuleList(
            Layer(f"{KEY}.layers.{index}", dims, precision) for index in range(dims.layers)
        )
        self.norm = LayerNorm(f"{KEY}.ln_post", dims.hidden)
        self.projection = Linear(
            f"{KEY}.proj", dims.hidden, dims.out, bias=True, precision=precision
        )

    def forward(
        self, mel: Tensor, frame_mask: Tensor, key_mask: Tensor, pool_rows: Tensor
    ) -> tuple[Tensor]:
        # conv1 smears real frames into the padding; the mask keeps conv2 from seeing it
        x = gelu(self.conv1(mel)) * frame_mask
        x = self.positions(gelu(self.conv2(x)).transpose(1, 2))
        mask = for_every_query(key_mask, self.dims.chunk_positions)
        for layer in self.layers:
            x = layer(x, mask)
        pooled = embedding(pool_rows, x.reshape(-1, self.dims.hidden)).mean(dim=1)
        return (self.projection(self.norm(pooled)),)
