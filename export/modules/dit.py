"""The graph `dit_step`: one evaluation of the flow-matching velocity without its constant parts.

Source: `Qwen2_5OmniToken2WavDiTModel` of transformers 4.57.6. Attention runs in blocks of
24 mel frames, so that cost and memory are linear in the length of the speech.

With `dims.products` f16, the products with a weight of the blocks multiply 16-bit numbers. All that
lies between them stays f32: residuals, norms and their modulation, biases, rotary positions,
attention, GELU, and the first and last layer, which read and write mel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, pad

from omnijet.export.modules import ops
from omnijet.export.modules.base import Linear, Source, Sourced
from omnijet.export.modules.layers import for_every_query
from omnijet.runtime.bundle.dims import DitDims

KEY = "token2wav.code2wav_dit_model"
EPS = 1e-6

DOWN_SHIFT = 6
"""Guards the second product of an MLP in f16 (`Linear`): its input is the only one that no norm or
softmax bounds. With it, no operand of Omnijet-nano exceeds 15 of the 65,504 that f16 holds."""


class Step(NamedTuple):
    """The inputs that every block reads in one evaluation (contract `dit_step`)."""

    modulation: Sequence[Tensor]  # shift, scale and gate of the attention, then of the MLP
    cos: Tensor
    sin: Tensor
    commit: Tensor
    mask_self: Tensor
    mask_back: Tensor
    mask_ahead: Tensor


class MelProjection(Sourced):
    """The columns of the input projection that read the noisy mel.

    The rest of the projection does not depend on time and is the input `static`.
    """

    weight: Tensor

    def __init__(self, dims: DitDims) -> None:
        super().__init__()
        width = dims.mel + dims.speaker_embed + dims.codec_embed + dims.speaker_cond

        def mel_columns(tensors: Sequence[Tensor]) -> Tensor:
            return tensors[0][:, : dims.mel].t().contiguous()

        key = f"{KEY}.input_embed.proj.weight"
        source = Source((key,), ((dims.hidden, width),), fold=mel_columns)
        self.add("weight", (dims.mel, dims.hidden), source)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = ops.matmul(x, self.weight)
        return y


class Block(nn.Module):
    """One transformer block: attention over a block of frames, then a GELU MLP.

    Some layers also attend to the previous or the next block. The AdaLN vectors of both
    halves are inputs.
    """

    def __init__(self, index: int, dims: DitDims) -> None:
        super().__init__()
        key = f"{KEY}.transformer_blocks.{index}"
        self.dims = dims
        self.look_back = index in dims.look_back_layers
        self.look_ahead = index in dims.look_ahead_layers
        inner = dims.heads * dims.head_dim
        self.qkv = Linear(
            [f"{key}.attn.to_{name}" for name in "qkv"],
            dims.hidden,
            (inner, inner, inner),
            bias=True,
            precision=dims.products,
        )
        self.output = Linear(
            f"{key}.attn.to_out.0", inner, dims.hidden, bias=True, precision=dims.products
        )
        ffn = dims.hidden * dims.ff_mult
        self.up = Linear(f"{key}.ff.ff.0", dims.hidden, ffn, bias=True, precision=dims.products)
        self.down = Linear(
            f"{key}.ff.ff.3",
            ffn,
            dims.hidden,
            bias=True,
            precision=dims.products,
            shift=DOWN_SHIFT,
        )

    def forward(
        self, x: Tensor, step: Step, past: Sequence[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Maps x f32[blocks, branches, 24, hidden] to the same shape.

        A layer that looks back reads `past`, key and value of the block before the first one,
        each f32[1, branches * heads, 24, head_dim], and returns key and value of the block
        `step.commit`. For other layers both are empty.
        """
        dims = self.dims
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = step.modulation
        normed = layer_norm(x, (dims.hidden,), 1 + scale, shift, EPS)
        seen, committed = self._attend(self.qkv(normed), step, past)
        x = x + gate * self.output(seen)
        normed = layer_norm(x, (dims.hidden,), 1 + scale_mlp, shift_mlp, EPS)
        y: Tensor = x + gate_mlp * self.down(gelu(self.up(normed), approximate="tanh"))
        return y, committed

    def _attend(
        self, qkv: Tensor, step: Step, past: Sequence[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Maps [blocks, branches, 24, 3 * inner] to [blocks, branches, 24, inner].

        Blocks are the batch of the attention, and branches are joined with the heads, so that
        one mask per block serves every branch.
        """
        inner = self.dims.heads * self.dims.head_dim
        q, k, v = torch.split(qkv, [inner] * 3, dim=-1)
        like = v
        q, k = self._rotate(q, step), self._rotate(k, step)
        q, k, v = (ops.fold_heads(part, self.dims.heads) for part in (q, k, v))
        mask = step.mask_self
        committed: tuple[Tensor, ...] = ()
        if self.look_back:
            committed = (k.index_select(0, step.commit), v.index_select(0, step.commit))
            k, v = (_with_previous(x, before) for x, before in zip((k, v), past, strict=True))
            mask = step.mask_back
        elif self.look_ahead:
            k, v, mask = _with_next(k), _with_next(v), step.mask_ahead
        seen = ops.attention(q, k, v, mask)
        merged: Tensor = ops.unfold_heads(seen, like, self.dims.heads)
        return merged, committed

    def _rotate(self, x: Tensor, step: Step) -> Tensor:
        """Rotates head 0 only, as `DiTAttention` of the reference does: it was trained so."""
        head_dim = self.dims.head_dim
        first, rest = torch.split(x, [head_dim, x.shape[-1] - head_dim], dim=-1)
        return torch.cat([ops.rotary(first, step.cos, step.sin, True), rest], dim=-1)


class DitStep(nn.Module):
    """The graph `dit_step`."""

    def __init__(self, dims: DitDims) -> None:
        super().__init__()
        self.dims = dims
        self.input = MelProjection(dims)
        self.blocks = nn.ModuleList(Block(index, dims) for index in range(dims.layers))
        self.output = Linear(f"{KEY}.proj_out", dims.hidden, dims.mel, bias=True, precision="f32")

    def forward(
        self,
        x: Tensor,
        static: Tensor,
        modulation: Tensor,
        modulation_out: Tensor,
        cos: Tensor,
        sin: Tensor,
        mask_self: Tensor,
        mask_back: Tensor,
        mask_ahead: Tensor,
        past: Tensor,
        commit: Tensor,
    ) -> tuple[Tensor, Tensor]:
        dims = self.dims
        half = dims.head_dim // 2
        y = self._to_blocks(self.input(x) + static)
        cos, sin = (part.reshape(-1, dims.block, half) for part in (cos, sin))
        masks = [for_every_query(mask, dims.block) for mask in (mask_self, mask_back, mask_ahead)]
        vectors = torch.split(modulation.reshape(-1), [dims.hidden] * (6 * dims.layers))
        pasts = iter(torch.split(past, [1] * (2 * len(dims.look_back_layers))))
        committed: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            own = vectors[6 * index : 6 * index + 6]
            before = (next(pasts), next(pasts)) if block.look_back else ()
            y, kept = block(y, Step(own, cos, sin, commit, *masks), before)
            committed.extend(kept)
        scale, shift = torch.split(modulation_out.reshape(-1), [dims.hidden] * 2)
        y = layer_norm(y, (dims.hidden,), 1 + scale, shift, EPS)
        return self.output(y).transpose(0, 1).flatten(1, 2), torch.cat(committed)

    def _to_blocks(self, x: Tensor) -> Tensor:
        """Maps [branches, frames, hidden] to [blocks, branches, 24, hidden]."""
        dims = self.dims
        return x.reshape(x.shape[0], -1, dims.block, dims.hidden).transpose(0, 1)


def _with_previous(x: Tensor, before: Tensor) -> Tensor:
    """Puts the previous block's keys before each block's own; `before` precedes the first block.

    Maps [blocks, heads, 24, head_dim] to [blocks, heads, 48, head_dim].
    """
    return torch.cat([torch.cat([before, x])[:-1], x], dim=2)


def _with_next(x: Tensor) -> Tensor:
    """Puts the next block's keys after each block's own; zeros follow the last block."""
    return torch.cat([x, pad(x, (0, 0, 0, 0, 0, 0, 0, 1))[1:]], dim=2)
