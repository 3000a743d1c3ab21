"""Graph `vision_encoder`: one frame, window attention but for a few full layers.

Source: `Qwen2_5OmniVisionEncoder` of transformers 4.57.6. Patches come in window order;
which patches share a window is an input.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, gelu, silu

from export import ops
from export.modules.base import TORCH_DTYPES, Linear, Source, Sourced
from export.modules.layers import RMSNorm, for_every_query, merge_heads, split_heads
from runtime.contract import Precision
from runtime.dims import VisionEncoderDims

KEY = "thinker.visual"
EPS = 1e-6
# The vision MLPs overflow f16 on real pictures, like the decoder's.
DOWN_SHIFT = 6


class Rotary(NamedTuple):
    """cos and sin, f32[batch, rows, head_dim / 2]."""

    cos: Tensor
    sin: Tensor


class Windows(NamedTuple):
    """How patches fall into windows (contract `vision_encoder`)."""

    rows: Tensor
    mask: Tensor
    slots: Tensor
    rotary: Rotary


class PatchEmbed(Sourced):
    """The patch convolution as one product: every patch is one position of it."""

    weight: Tensor

    def __init__(self, dims: VisionEncoderDims, precision: Precision) -> None:
        super().__init__()
        self.dtype = TORCH_DTYPES[precision]
        shape = (dims.hidden, dims.in_channels, dims.temporal_patch, dims.patch, dims.patch)
        source = Source((f"{KEY}.patch_embed.proj.weight",), (shape,), transpose=True)
        self.add("weight", (dims.patch_width, dims.hidden), source, self.dtype)

    def forward(self, patches: Tensor) -> Tensor:
        y: Tensor = ops.matmul(patches.to(self.dtype), self.weight).float()
        return y


class Block(nn.Module):
    """Pre-norm attention and SwiGLU over the patches of one frame."""

    def __init__(self, index: int, dims: VisionEncoderDims, precision: Precision) -> None:
        super().__init__()
        key = f"{KEY}.blocks.{index}"
        self.dims = dims
        self.dtype = TORCH_DTYPES[precision]
        self.full = index in dims.full_attention_layers
        width = dims.hidden
        self.attention_norm = RMSNorm(f"{key}.norm1", width, EPS)
        self.qkv = Linear(
            [f"{key}.attn.{name}" for name in "qkv"],
            width,
            (width, width, width),
            bias=True,
            precision=precision,
        )
        self.output = Linear(f"{key}.attn.proj", width, width, bias=True, precision=precision)
        self.mlp_norm = RMSNorm(f"{key}.norm2", width, EPS)
        self.gate_up = Linear(
            (f"{key}.mlp.gate_proj", f"{key}.mlp.up_proj"),
            width,
            (dims.ffn, dims.ffn),
            bias=True,
            precision=precision,
        )
        self.down = Linear(
            f"{key}.mlp.down_proj",
            dims.ffn,
            width,
            bias=True,
            precision=precision,
            shift=DOWN_SHIFT,
        )

    def forward(self, x: Tensor, frame: Rotary, windows: Windows) -> Tensor:
        """x f32[1, patches, hidden] -> the same."""
        qkv = self.qkv(self.attention_norm(x))
        seen = self._everywhere(qkv, frame) if self.full else self._in_windows(qkv, windows)
        x = x + self.output(seen)
        gate, up = torch.split(self.gate_up(self.mlp_norm(x)), [self.dims.ffn] * 2, dim=-1)
        y: Tensor = x + self.down(silu(gate) * up)
        return y

    def _heads(self, qkv: Tensor, rotary: Rotary) -> tuple[Tensor, Tensor, Tensor]:
        """[batch, rows, 3 * hidden] -> q, k, v [batch, heads, rows, head_dim], rotated."""
        dims = self.dims
        q, k, v = (
            split_heads(part, dims.heads, dims.head_dim)
            for part in torch.split(qkv, [dims.hidden] * 3, dim=-1)
        )
        q, k = ops.rotary(q, *rotary), ops.rotary(k, *rotary)
        return q.to(self.dtype), k.to(self.dtype), v.to(self.dtype)

    def _everywhere(self, qkv: Tensor, frame: Rotary) -> Tensor:
        """One head at a time: a runtime that materialises scores holds one matrix, not
        one per head (7.4 GB for a 1920 x 1080 picture)."""
        q, k, v = self._heads(qkv, frame)
        ones = [1] * self.dims.heads
        heads = [
            ops.attention(*head, None)
            for head in zip(*(torch.split(p, ones, dim=1) for p in (q, k, v)), strict=True)
        ]
        return merge_heads(torch.cat(heads, dim=1))

    def _in_windows(self, qkv: Tensor, windows: Windows) -> Tensor:
        """Gathers the patches of each window, attends, puts them back in their places."""
        q, k, v = self._heads(embedding(windows.rows, qkv[0]), windows.rotary)
        seen = merge_heads(ops.attention(q, k, v, windows.mask))
        return embedding(windows.slots, seen.reshape(-1, self.dims.hidden)).unsqueeze(0)


class VisionEncoder(nn.Module):
    """patches f32[patches, 1176] -> features f32[patches / 4, out], in window order."""

    def __init__(self, dims: VisionEncoderDims, precision: Precision) -> None:
        super().__init__()
        self.dims = dims
        self.patch_embed = PatchEmbed(dims, precision)
        self.blocks = nn.ModuleList(Block(i, dims, precision) for i in range(dims.layers))
        self.merge_norm = RMSNorm(f"{KEY}.merger.ln_q", dims.hidden, EPS)
        merged = dims.hidden * dims.cell_patches
        self.merge_up = Linear(
            f"{KEY}.merger.mlp.0", merged, merged, bias=True, precision=precision
        )
        self.merge_down = Linear(
            f"{KEY}.merger.mlp.2", merged, dims.out, bias=True, precision=precision
        )

    def forward(
        self,
        patches: Tensor,
        cos: Tensor,
        sin: Tensor,
        window_rows: Tensor,
        window_mask: Tensor,
        window_slots: Tensor,
    ) -> tuple[Tensor]:
        frame = Rotary(cos, sin)
        per_window = Rotary(embedding(window_rows, cos[0]), embedding(window_rows, sin[0]))
        mask = for_every_query(window_mask, self.dims.window_patches)
        windows = Windows(window_rows, mask, window_slots, per_window)
        x = self.patch_embed(patches).unsqueeze(0)
        for block in self.blocks:
            x = block(x, frame, windows)
        cells = self.merge_norm(x).reshape(-1, self.dims.hidden * self.dims.cell_patches)
        return (self.merge_down(gelu(self.merge_up(cells))),)
