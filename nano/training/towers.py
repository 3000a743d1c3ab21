"""Batched forward passes of the encoders: many short sounds, or pictures of one size, at once.

The weights are in the reference's modules, whose own `forward` processes one sound and one
window after the other. `tests/nano` checks that the results are equal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import gelu, scaled_dot_product_attention
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import (
    Qwen2_5OmniAudioEncoder,
    Qwen2_5OmniVisionEncoder,
)

from omnijet.runtime.bundle.dims import audio_token_count
from omnijet.runtime.media.log_mel import DYNAMIC_RANGE, POWER_FLOOR, mel_filters

CHUNK = 200  # mel frames
N_FFT, HOP, RATE_HZ = 400, 160, 16_000


def log_mels(sounds: Sequence[np.ndarray], n_mels: int = 128) -> tuple[Tensor, list[int]]:
    """Computes log-mel like `omnijet.runtime.media.log_mel.log_mel`, in float32.

    Returns:
        Mel f32[sounds, n_mels, frames] in whole chunks, zero beyond each sound, and the
        number of frames of each sound.
    """
    lengths = [-(-len(sound) // HOP) for sound in sounds]
    frames = -(-max(lengths) // CHUNK) * CHUNK
    waves = torch.zeros(len(sounds), frames * HOP + N_FFT)
    for row, sound in zip(waves, sounds, strict=True):
        row[: len(sound)] = torch.from_numpy(sound)
    spectrum = torch.stft(waves, N_FFT, HOP, window=torch.hann_window(N_FFT), return_complex=True)
    power = spectrum.real.square() + spectrum.imag.square()
    filters = torch.from_numpy(np.array(mel_filters(n_mels, N_FFT, RATE_HZ))).float()
    logs = (filters @ power).clamp_min(POWER_FLOOR).log10()[..., :frames]
    loudest = logs.amax((1, 2), keepdim=True)
    mels = (torch.maximum(logs, loudest - DYNAMIC_RANGE) + 4) / 4
    real = torch.arange(frames)[None, :] < torch.tensor(lengths)[:, None]
    return mels * real[:, None], lengths


def encode_sounds(
    tower: Qwen2_5OmniAudioEncoder, mels: Tensor, lengths: Sequence[int]
) -> tuple[Tensor, list[int]]:
    """Returns features f32[sounds, 50 * chunks, out] and the number of valid rows of each sound."""
    sounds, bands, frames = mels.shape
    chunks = frames // CHUNK
    own = (torch.tensor(lengths)[:, None] - CHUNK * torch.arange(chunks)).clamp(0, CHUNK)
    own = own.reshape(-1)
    used = own > 0
    x = mels.reshape(sounds, bands, chunks, CHUNK).transpose(1, 2).reshape(-1, bands, CHUNK)
    x, kept = x[used], own[used]
    x = gelu(tower.conv1(x)) * (torch.arange(CHUNK) < kept[:, None])[:, None]
    x = gelu(tower.conv2(x)).transpose(1, 2)
    x = x + tower.positional_embedding.positional_embedding[: x.shape[1]]
    keys = torch.arange(x.shape[1]) < ((kept - 1) // 2 + 1)[:, None]
    for layer in tower.layers:
        attention = layer.self_attn
        normed = layer.self_attn_layer_norm(x)
        q, k, v = (
            part(normed).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
            for part in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        seen = scaled_dot_product_attention(q, k, v, attn_mask=keys[:, None, None])
        x = x + attention.out_proj(seen.transpose(1, 2).flatten(2))
        x = x + layer.fc2(gelu(layer.fc1(layer.final_layer_norm(x))))
    x = x.unflatten(1, (-1, 2)).mean(2)
    x = tower.proj(tower.ln_post(x))
    padded = x.new_zeros(sounds * chunks, *x.shape[1:])
    padded[used] = x
    return padded.reshape(sounds, -1, x.shape[-1]), [audio_token_count(n) for n in lengths]


def encode_pictures(
    tower: Qwen2_5OmniVisionEncoder, patches: Tensor, height: int, width: int
) -> Tensor:
    """Encodes pictures of one size: f32[pictures, height * width, patch] -> [pictures, cells, out].

    Windows are a mask over the whole picture instead of a reordering of its patches.
    """
    grid = torch.tensor([[1, height, width]])
    x = tower.patch_embed(patches.flatten(0, 1)).unflatten(0, patches.shape[:2])
    angles = tower.rot_pos_emb(grid)
    cos, sin = torch.cat([angles, angles], -1).cos(), torch.cat([angles, angles], -1).sin()
    window = tower.window_size // tower.patch_size
    rows, columns = _patch_positions(height, width, tower.spatial_merge_size)
    own = rows // window * width + columns // window
    inside = own[:, None] == own[None, :]
    for number, block in enumerate(tower.blocks):
        attention = block.attn
        normed = block.norm1(x)
        q, k, v = (
            part(normed).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
            for part in (attention.q, attention.k, attention.v)
        )
        q, k = (part * cos + _rotate_half(part) * sin for part in (q, k))
        mask = None if number in tower.fullatt_block_indexes else inside
        seen = scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + attention.proj(seen.transpose(1, 2).flatten(2))
        x = x + block.mlp(block.norm2(x))
    merger = tower.merger
    features: Tensor = merger.mlp(merger.ln_q(x).unflatten(1, (-1, 4)).flatten(2))
    return features


def _patch_positions(height: int, width: int, merge: int) -> tuple[Tensor, Tensor]:
    """Returns row and column of each patch in the order of merged cells."""

    def order(index: Tensor) -> Tensor:
        cells = index.reshape(height // merge, merge, width // merge, merge)
        return cells.transpose(1, 2).reshape(-1)

    rows = torch.arange(height)[:, None].expand(height, width)
    columns = torch.arange(width)[None, :].expand(height, width)
    return order(rows.contiguous()), order(columns.contiguous())


def _rotate_half(x: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return torch.cat([-second, first], -1)
