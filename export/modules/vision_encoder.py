"""The graph `vision_encoder`: pictures of one size, with window attention in all but a few layers.

Source: `Qwen2_5OmniVisionEncoder` of transformers 4.57.6. Patches arrive picture by picture, each
in window order, and the inputs say which patches share a window and which share a picture.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, gelu, silu

from omnijet.export.modules import ops
from omnijet.export.modules.base import TORCH_DTYPES, Linear, Source, Sourced
from omnijet.export.modules.layers import RMSNorm, for_every_query, merge_heads, split_heads
from omnijet.runtime.bundle.contract import Precision
from omnijet.runtime.bundle.dims import VisionEncoderDims

KEY = "thinker.visual"
EPS = 1e-6
# the vision MLPs overflow f16 on real pictures, like the decoder's
DOWN_SHIFT = 6


class Rotary(NamedTuple):
    """cos and sin, f32[batch, rows, head_dim / 2]."""

    cos: Tensor
    sin: Tensor


class Rows(NamedTuple):
    """Which patches stand together, [groups, rows], and their rotation."""

    rows: Tensor
    rotary: Rotary


class Groups(NamedTuple):
    """The assignment of patches to windows and pictures (contract `vision_encoder`)."""

    windows: Rows
    mask: Tensor
    slots: Tensor
    pictures: Rows


class PatchEmbed(Sourced):
    """The patch convolution as one product: every patch is one position of the convolution."""

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
    """One block: pre-norm attention and SwiGLU over the patches of all pictures."""

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

    def forward(self, x: Tensor, groups: Groups) -> Tensor:
        """Maps x f32[1, patches, hidden] to the same shape."""
        qkv = self.qkv(self.attention_norm(x))
        seen = self._in_pictures(qkv, groups) if self.full else self._in_windows(qkv, groups)
        x = x + self.output(self._from_windows(seen, groups))
        gate, up = torch.split(self.gate_up(self.mlp_norm(x)), [self.dims.ffn] * 2, dim=-1)
        y: Tensor = x + self.down(silu(gate) * up)
        return y

    def _in_pictures(self, qkv: Tensor, groups: Groups) -> Tensor:
        """Attends from every patch to the patches of its picture.

        Queries are processed window by window, so that a runtime that materialises scores
        holds those of one window. All scores would take 7.4 GB for a picture of 1920 x 1080,
        and 275 GB for the largest picture that is not scaled down.
        """
        width, windows, pictures = self.dims.hidden, groups.windows, groups.pictures
        q, kv = torch.split(qkv, [width, 2 * width], dim=-1)
        k, v = torch.split(embedding(pictures.rows, kv[0]), [width] * 2, dim=-1)
        queries = self._heads(embedding(windows.rows, q[0]), windows.rotary)
        keys = self._heads(k, pictures.rotary)
        seen: Tensor = ops.block_attention(queries, keys, self._heads(v))
        return seen

    def _in_windows(self, qkv: Tensor, groups: Groups) -> Tensor:
        """Attends from every patch to the patches of its window."""
        windows = groups.windows
        q, k, v = torch.split(embedding(windows.rows, qkv[0]), [self.dims.hidden] * 3, dim=-1)
        queries, keys = self._heads(q, windows.rotary), self._heads(k, windows.rotary)
        seen: Tensor = ops.attention(queries, keys, self._heads(v), groups.mask)
        return seen

    def _heads(self, x: Tensor, rotary: Rotary | None = None) -> Tensor:
        """Maps [batch, rows, hidden] to [batch, heads, rows, head_dim], rotated by `rotary`."""
        heads = split_heads(x, self.dims.heads, self.dims.head_dim)
        if rotary is not None:
            heads = ops.rotary(heads, *rotary)
        return heads.to(self.dtype)

    def _from_windows(self, seen: Tensor, groups: Groups) -> Tensor:
        """Reads each patch from its slot.

        Maps [windows, heads, window_patches, head_dim] to [1, patches, hidden].
        """
        rows = merge_heads(seen).reshape(-1, self.dims.hidden)
        return embedding(groups.slots, rows).unsqueeze(0)


class VisionEncoder(nn.Module):
    """The vision encoder: patches f32[patches, 1176] -> features f32[patches / 4, out].

    Both stand picture by picture, each in window order.
    """

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
        picture_rows: Tensor,
    ) -> tuple[Tensor]:
        groups = Groups(
            _grouped(window_rows, cos, sin),
            for_every_query(window_mask, self.dims.window_patches),
            window_slots,
            _grouped(picture_rows, cos, sin),
        )
        x = self.patch_embed(patches).unsqueeze(0)
        for block in self.blocks:
            x = block(x, groups)
        cells = self.merge_norm(x).reshape(-1, self.dims.hidden * self.dims.cell_patches)
        return (self.merge_down(gelu(self.merge_up(cells))),)


def _grouped(rows: Tensor, cos: Tensor, sin: Tensor) -> Rows:
    return Rows(rows, Rotary(embedding(rows, cos[0]), embedding(rows, sin[0])))
