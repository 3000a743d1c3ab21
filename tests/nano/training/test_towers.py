"""Compares the batched forward passes of the encoders with the reference."""

from __future__ import annotations

import numpy as np
import torch
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import (
    Qwen2_5OmniAudioEncoder,
    Qwen2_5OmniVisionEncoder,
)

from omnijet.export.synthetic.checkpoint import PREPROCESSOR
from omnijet.nano.training.hearing import Listener
from omnijet.nano.training.sight import Viewer
from omnijet.nano.training.towers import encode_pictures, encode_sounds, log_mels
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.media.log_mel import log_mel


def stirred(tower: torch.nn.Module) -> None:
    """Draws weights so large that every part affects the result, in place."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in tower.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            std = 1 / parameter[0].numel() ** 0.5 if parameter.dim() > 1 else 0.3
            parameter.copy_(noise * std + (parameter.dim() == 1))


def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 1e-5) -> None:
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max() / theirs.abs().max()) < tolerance
    assert float(theirs.std()) > 1e-2


def test_mels_are_the_runtimes() -> None:
    preprocessing = Preprocessing.from_preprocessor_config(PREPROCESSOR)
    rng = np.random.default_rng(0)
    sounds = [rng.standard_normal(n).astype(np.float32) * 0.1 for n in (3201, 16_000, 70_123)]
    mels, lengths = log_mels(sounds)
    for sound, mel, length in zip(sounds, mels, lengths, strict=True):
        wanted = log_mel(sound, preprocessing)
        assert wanted.shape[1] == length
        assert np.abs(mel[:, :length].numpy() - wanted).max() < 1e-4
        assert not mel[:, length:].any()


@torch.no_grad()
def test_hearing_in_batches() -> None:
    tower: Qwen2_5OmniAudioEncoder = Listener().tower.eval()
    stirred(tower)
    lengths = [3, 200, 313, 599]  # within one chunk, at its end and beyond, even and odd
    mels = torch.zeros(4, 128, 600)
    generator = torch.Generator().manual_seed(0)
    for mel, length in zip(mels, lengths, strict=True):
        mel[:, :length] = torch.randn(128, length, generator=generator)
    ours, counts = encode_sounds(tower, mels, lengths)
    flat = torch.cat([mel[:, :length] for mel, length in zip(mels, lengths, strict=True)], 1)
    sizes = torch.tensor(lengths)
    after, _ = tower._get_feat_extract_output_lengths(sizes)
    theirs = tower(flat, feature_lens=sizes, aftercnn_lens=after).last_hidden_state
    close(torch.cat([row[:count] for row, count in zip(ours, counts, strict=True)]), theirs)


@torch.no_grad()
def test_looking_in_batches() -> None:
    tower: Qwen2_5OmniVisionEncoder = Viewer().tower.eval()
    stirred(tower)
    for height, width in ((8, 8), (16, 32), (14, 22)):  # one window, several, ragged ones
        patches = torch.randn(2, height * width, 1176)
        ours = encode_pictures(tower, patches, height, width)
        grid = torch.tensor([[1, height, width]] * 2)
        theirs = tower(patches.flatten(0, 1), grid_thw=grid)
        close(ours.flatten(0, 1), getattr(theirs, "last_hidden_state", theirs))
