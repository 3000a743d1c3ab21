"""Compares the speaker encoder with transformers 4.57.6."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers.models.qwen2_5_omni import modeling_qwen2_5_omni as hf
from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import Qwen2_5OmniDiTConfig

from omnijet.export.modules.ecapa import KEY, Ecapa
from tests.export.modules.parity import checkpoint, published_dims, relative_error, revive

SIZES = {
    "published": {},
    "odd": {
        "enc_dim": 20, "enc_channels": [24, 24, 24, 48], "enc_kernel_sizes": [5, 3, 3, 1],
        "enc_dilations": [1, 2, 5, 1], "enc_attention_channels": 12, "enc_res2net_scale": 4,
        "enc_se_channels": 8,
    },
}  # fmt: skip


@pytest.mark.parametrize("frames", [9, 50, 400])
@pytest.mark.parametrize("size", SIZES)
def test_it_equals_the_reference(size: str, frames: int) -> None:
    config = Qwen2_5OmniDiTConfig(**SIZES[size])
    reference = hf.ECAPA_TimeDelayNet(config).eval()
    revive(reference, seed=4)
    dims = replace(
        published_dims().ecapa,
        channels=tuple(config.enc_channels),
        kernels=tuple(config.enc_kernel_sizes),
        dilations=tuple(config.enc_dilations),
        res2net_scale=config.enc_res2net_scale,
        attention_channels=config.enc_attention_channels,
        se_channels=config.enc_se_channels,
        out=config.enc_dim,
    )
    mel = -4 + 2 * torch.randn(1, frames, 80, generator=torch.Generator().manual_seed(frames))
    with torch.no_grad():
        expected = reference(mel)
        got = Ecapa(dims, checkpoint(reference, KEY))(mel)
    assert relative_error(got.reshape(expected.shape), expected) <= 1e-5
