"""Small layers that several graphs share."""

from __future__ import annotations

import torch
from torch import Tensor

from omnijet.export.modules import ops
from omnijet.export.modules.base import Source, Sourced


class RMSNorm(Sourced):
    """Root-mean-square norm over the last axis, in f32."""

    weight: Tensor

    def __init__(self, key: str, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.add("weight", (width,), Source((f"{key}.weight",), ((width,),)))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = ops.rms_norm(x, self.weight, self.eps)
        return y


class LayerNorm(Sourced):
    """Layer norm with affine parameters over the last axis, in f32."""

    weight: Tensor
    bias: Tensor

    def __init__(self, key: str, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.width = width
        self.add("weight", (width,), Source((f"{key}.weight",), ((width,),)))
        self.add("bias", (width,), Source((f"{key}.bias",), ((width,),)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.layer_norm(x, (self.width,), self.weight, self.bias, self.eps)


def split_heads(x: Tensor, heads: int, head_dim: int) -> Tensor:
    """Maps [batch, rows, heads * head_dim] to [batch, heads, rows, head_dim]."""
    return x.reshape(x.shape[0], x.shape[1], heads, head_dim).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """Maps [batch, heads, rows, head_dim] to [batch, rows, heads * head_dim]."""
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], x.shape[1] * x.shape[3])


def for_every_query(key_mask: Tensor, rows: int) -> Tensor:
    """Expands a mask bool[batch, 1, 1, keys] to [batch, 1, rows, keys].

    ONNX lets a mask broadcast over queries, but the CPU Attention of ONNX Runtime broadcasts
    only batch and heads.
    """
    return key_mask.expand(-1, -1, rows, -1)
