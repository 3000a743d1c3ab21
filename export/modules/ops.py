"""Fused operators that run in torch and are exported as standard ONNX nodes (opset 24).

`torch.nn.functional` has no cache write, and the nodes that torch's exporter writes for its
attention or for hand-written rotary code depend on the torch version. Operators declared
here fix the form of the graph: Attention, RotaryEmbedding, RMSNormalization, TensorScatter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from onnxscript import values
from torch import Tensor
from torch.nn.functional import conv1d, pad

OPSET = 24


@torch.library.custom_op("omnijet::attention", mutates_args=())
def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Computes scaled dot-product attention with grouped queries.

    Args:
        q: [batch, heads, rows, head_dim].
        k: [batch, kv_heads, keys, head_dim]; heads is a multiple of kv_heads.
        v: The same shape as k.
        mask: Bool, broadcastable to [batch, heads, rows, keys]; true where a query attends.
    """
    groups = q.shape[1] // k.shape[1]
    return torch.nn.functional.scaled_dot_product_attention(
        q, k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1), attn_mask=mask
    )


@attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    return torch.empty_like(q)


@torch.library.custom_op("omnijet::block_attention", mutates_args=())
def block_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Computes attention of every query to every key of its set, block of queries after block.

    The scores in memory are [sets, heads, rows, keys] for any number of blocks.

    Args:
        q: [sets * blocks, heads, rows, head_dim], set after set.
        k: [sets, heads, keys, head_dim].
        v: The same shape as k.
    """
    blocks = q.reshape(len(k), -1, *q.shape[1:]).unbind(1)
    seen = [torch.nn.functional.scaled_dot_product_attention(part, k, v) for part in blocks]
    return torch.stack(seen, 1).reshape(q.shape)


@block_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.empty_like(q)


@torch.library.custom_op("omnijet::rotary", mutates_args=())
def rotary(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool = False) -> Tensor:
    """Applies rotary position embedding.

    Args:
        x: [batch, heads, rows, head_dim].
        cos: [1 or batch, rows, head_dim / 2], of the same dtype as x.
        sin: The same shape and dtype as cos.
        interleaved: Whether adjacent pairs are rotated instead of the two halves.
    """
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    if interleaved:
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack((a * cos - b * sin, b * cos + a * sin), dim=-1).flatten(-2)
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


@rotary.register_fake
def _(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool = False) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@torch.library.custom_op("omnijet::rms_norm", mutates_args=())
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Computes x / sqrt(mean(x^2) + eps) * weight over the last axis."""
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


@rms_norm.register_fake
def _(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("omnijet::cache_update", mutates_args=())
def cache_update(cache: Tensor, update: Tensor, write_index: Tensor) -> Tensor:
    """Returns the cache with `update` written at `write_index`; a backend writes in place.

    Args:
        cache: [1, kv_heads, capacity, head_dim].
        update: [1, kv_heads, rows, head_dim], of the same dtype.
        write_index: i64[1], the first row to write; write_index + rows <= capacity.
    """
    start = int(write_index.item())
    result = cache.clone()
    result[:, :, start : start + update.shape[2]] = update
    return result


@cache_update.register_fake
def _(cache: Tensor, update: Tensor, write_index: Tensor) -> Tensor:
    return torch.empty_like(cache)


@torch.library.custom_op("omnijet::matmul", mutates_args=())
def matmul(x: Tensor, weight: Tensor) -> Tensor:
    """Multiplies [..., in] by [in, out].

    It is an operator because torch folds leading axes into one and back, which traces slowly
    with several symbols.
    """
    return torch.matmul(x, weight)


@matmul.register_fake
def _(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty((*x.shape[:-1], weight.shape[1]))


@torch.library.custom_op("omnijet::fold_heads", mutates_args=())
def fold_heads(x: Tensor, heads: int) -> Tensor:
    """Moves heads to the second axis.

    Maps [blocks, branches, rows, heads * head_dim] to [blocks, branches * heads, rows, head_dim].
    It is an operator because tracing a reshape over two symbols takes seconds per layer and
    leaves shape arithmetic in the graph that Reshape does not need.
    """
    blocks, branches, rows, width = x.shape
    split = x.reshape(blocks, branches, rows, heads, width // heads).transpose(2, 3)
    return split.reshape(blocks, branches * heads, rows, width // heads).contiguous()


@fold_heads.register_fake
def _(x: Tensor, heads: int) -> Tensor:
    blocks, branches, rows, width = x.shape
    return x.new_empty((blocks, branches * heads, rows, width // heads))


@torch.library.custom_op("omnijet::unfold_heads", mutates_args=())
def unfold_heads(x: Tensor, like: Tensor, heads: int) -> Tensor:
    """Inverts `fold_heads`; `like` has the shape of the result."""
    blocks, branches, rows, width = like.shape
    split = x.reshape(blocks, branches, heads, rows, width // heads).transpose(2, 3)
    return split.reshape(blocks, branches, rows, width).contiguous()


@unfold_heads.register_fake
def _(x: Tensor, like: Tensor, heads: int) -> Tensor:
    return torch.empty_like(like)


@torch.library.custom_op("omnijet::upsampled_snake", mutates_args=())
def upsampled_snake(
    x: Tensor, alpha: Tensor, reciprocal_beta: Tensor, up: Tensor, down: Tensor
) -> Tensor:
    """Computes x + sin^2(alpha x) / beta at twice the sample rate.

    Channels become the batch, and the doubled signal is stored as its even and odd samples,
    [channels, 2, samples]. Each direction is then one convolution over 7 taps instead of a
    strided depthwise convolution over 12 taps, half of them on zeros: three to four times as
    fast in ONNX Runtime. It is an operator because a vocoder has over a hundred of them.

    Args:
        x: [1, channels, 1, samples], the shape of the result.
        alpha: [channels, 1, 1].
        reciprocal_beta: [channels, 1, 1].
        up: [2, 1, taps], the even and the odd phase of the interpolation filter.
        down: [1, 2, taps], the decimation filter by phase.
    """
    side = up.shape[2] // 2
    doubled = conv1d(pad(x[0], (side, side), mode="replicate"), up)
    wave = torch.sin(doubled * alpha)
    bent = doubled + wave * wave * reciprocal_beta
    # the doubled signal is extended with its first sample (even) and its last sample (odd)
    first, last = bent[:, :1, :1], bent[:, 1:, -1:]
    bent = torch.cat([first.expand(-1, 2, side), bent, last.expand(-1, 2, side)], dim=2)
    return conv1d(bent, down)[None]


@upsampled_snake.register_fake
def _(x: Tensor, alpha: Tensor, reciprocal_beta: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return torch.empty_like(x)


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Returns the function that writes the ONNX nodes of each torch operator."""
    opset = values.Opset("", OPSET)

    def onnx_attention(q: Any, k: Any, v: Any, mask: Any = None) -> Any:
        return opset.Attention(q, k, v, mask)[0]

    def onnx_block_attention(q: Any, k: Any, v: Any) -> Any:
        return opset.Attention(q, k, v)[0]  # batches differ until `trace.passes.ScanBlocks` runs

    def onnx_rotary(x: Any, cos: Any, sin: Any, interleaved: bool = False) -> Any:
        return opset.RotaryEmbedding(x, cos, sin, interleaved=int(interleaved))

    def onnx_rms_norm(x: Any, weight: Any, eps: float) -> Any:
        return opset.RMSNormalization(x, weight, axis=-1, epsilon=eps)

    def onnx_cache_update(cache: Any, update: Any, write_index: Any) -> Any:
        return opset.TensorScatter(cache, update, write_index, axis=2)

    def onnx_matmul(x: Any, weight: Any) -> Any:
        return opset.MatMul(x, weight)

    def onnx_fold_heads(x: Any, heads: int) -> Any:
        rows, width = int(x.shape[2]), int(x.shape[3])
        split = opset.Reshape(x, _ints(0, 0, rows, heads, width // heads))
        return opset.Reshape(
            opset.Transpose(split, perm=[0, 1, 3, 2, 4]), _ints(0, -1, rows, width // heads)
        )

    def onnx_unfold_heads(x: Any, like: Any, heads: int) -> Any:
        rows, width = int(like.shape[2]), int(like.shape[3])
        split = opset.Reshape(x, _ints(0, -1, heads, rows, width // heads))
        return opset.Reshape(opset.Transpose(split, perm=[0, 1, 3, 2, 4]), _ints(0, 0, rows, width))

    def onnx_upsampled_snake(x: Any, alpha: Any, reciprocal_beta: Any, up: Any, down: Any) -> Any:
        channels, side = int(alpha.shape[0]), int(up.shape[2]) // 2
        ends = _ints(0, 0, side, 0, 0, side)
        rows = opset.Reshape(x, _ints(channels, 1, -1))
        doubled = opset.Conv(opset.Pad(rows, ends, None, None, mode="edge"), up)
        wave = opset.Sin(opset.Mul(doubled, alpha))
        bent = opset.Add(doubled, opset.Mul(opset.Mul(wave, wave), reciprocal_beta))
        axes, beyond = _ints(1, 2), 2**31
        first = opset.Slice(bent, _ints(0, 0), _ints(1, 1), axes)
        last = opset.Slice(bent, _ints(1, -1), _ints(2, beyond), axes)
        shape = _ints(channels, 2, side)
        parts = (opset.Expand(first, shape), bent, opset.Expand(last, shape))
        return opset.Reshape(
            opset.Conv(opset.Concat(*parts, axis=2), down), _ints(1, channels, 1, -1)
        )

    def _ints(*values: int) -> Any:
        return opset.Constant(value_ints=values)

    ops = torch.ops.omnijet
    return {
        ops.matmul.default: onnx_matmul,
        ops.fold_heads.default: onnx_fold_heads,
        ops.unfold_heads.default: onnx_unfold_heads,
        ops.attention.default: onnx_attention,
        ops.block_attention.default: onnx_block_attention,
        ops.rotary.default: onnx_rotary,
        ops.rms_norm.default: onnx_rms_norm,
        ops.cache_update.default: onnx_cache_update,
        ops.upsampled_snake.default: onnx_upsampled_snake,
    }
