from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from omnijet.runtime.model.rope import MRope, inverse_frequencies, vision_cos_sin

DECODERS = {  # head_dim, theta, section
    "thinker": (128, 1e6, (16, 24, 24)),
    "talker_3b": (64, 1e6, (16, 16, 0)),
    "tiny": (16, 1e4, (2, 3, 3)),
}


@pytest.fixture
def modeling():
    pytest.importorskip("torch").set_num_threads(1)
    return pytest.importorskip("transformers.models.qwen2_5_omni.modeling_qwen2_5_omni")


def random_positions(length: int, limit: int = 32768) -> np.ndarray:
    return np.random.default_rng(length).integers(0, limit, size=(3, 1, length))


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("length", [1, 37])
def test_mrope_rotates_like_the_reference(modeling, name: str, length: int) -> None:
    import torch

    head_dim, theta, section = DECODERS[name]
    config = SimpleNamespace(
        rope_scaling={"type": "default", "mrope_section": list(section)},
        rope_theta=theta,
        max_position_embeddings=32768,
        head_dim=head_dim,
        hidden_size=4 * head_dim,
        num_attention_heads=4,
    )
    positions = random_positions(length)
    q, k = torch.randn(2, 1, 4, length, head_dim, generator=torch.Generator().manual_seed(1))
    rotary = modeling.Qwen2_5OmniRotaryEmbedding(config)
    tables = rotary(q, torch.from_numpy(positions))
    expected = modeling.apply_multimodal_rotary_pos_emb(q, k, *tables, list(section))

    cos, sin = MRope(head_dim, theta, section).tables(positions)
    assert cos.shape == sin.shape == (1, length, head_dim // 2)
    assert cos.dtype == sin.dtype == np.float32
    for given, wanted in zip((q, k), expected, strict=True):
        low, high = np.split(given.numpy(), 2, axis=-1)
        rotated = np.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1)
        # one unit in the last place of a frequency is 2e-3 of an angle of 32768
        error = np.abs(rotated - wanted.numpy()).max() / np.abs(wanted.numpy()).max()
        assert error < 1e-3
        if length > 1:
            shifted = np.roll(rotated, 1, axis=2)
            assert np.abs(shifted - wanted.numpy()).max() > 0.5  # the check can fail


@pytest.mark.parametrize("name", DECODERS)
def test_frequencies_and_small_angles_are_tight(modeling, name: str) -> None:
    import torch

    head_dim, theta, section = DECODERS[name]
    exponents = torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim
    expected = (1.0 / theta**exponents).numpy()
    np.testing.assert_allclose(inverse_frequencies(head_dim, theta), expected, rtol=2e-7)
    positions = random_positions(50, limit=64)
    axes = np.repeat(np.arange(3), section)
    angles = positions[axes, 0].T.astype(np.float32) * expected
    cos, sin = MRope(head_dim, theta, section).tables(positions)
    np.testing.assert_allclose(cos[0], np.cos(angles), atol=1e-5)
    np.testing.assert_allclose(sin[0], np.sin(angles), atol=1e-5)


@pytest.mark.parametrize("name", DECODERS)
def test_every_way_of_writing_agrees(name: str) -> None:
    rope = MRope(*DECODERS[name])
    half = len(rope.inv_freq)
    positions = random_positions(9)
    cos, sin = rope.tables(positions)
    for row in range(9):
        one_cos, one_sin = np.full((2, 1, 1, half), np.nan, np.float32)
        rope.write(positions[:, :, row : row + 1], one_cos, one_sin)
        np.testing.assert_array_equal(one_cos[0, 0], cos[0, row])
        np.testing.assert_array_equal(one_sin[0, 0], sin[0, row])
    for rows in (1, 4):
        step_cos, step_sin = np.empty((2, 1, rows, half), np.float32)
        rope.write_steps(4321, step_cos, step_sin)
        even = rope.tables(np.broadcast_to(4321 + np.arange(rows), (3, 1, rows)))
        np.testing.assert_array_equal((step_cos, step_sin), even)
    # rows of a larger buffer, as a runner with fixed shapes keeps them
    wide = np.zeros((2, 1, 16, half), np.float32)
    rope.write(positions, wide[0, :, 3:12], wide[1, :, 3:12])
    np.testing.assert_array_equal(wide[:, :, 3:12], (cos, sin))
    assert not wide[:, :, :3].any() and not wide[:, :, 12:].any()


def test_bands_must_fill_half_a_head() -> None:
    with pytest.raises(AssertionError, match="128"):
        MRope(128, 1e6, (16, 24, 23))


@pytest.mark.parametrize("head_dim", [80, 16])
def test_vision_rotates_like_the_reference(modeling, head_dim: int) -> None:
    import torch

    pos_hw = np.random.default_rng(3).integers(0, 90, size=(41, 2))
    table = modeling.Qwen2_5_VisionRotaryEmbedding(head_dim // 2)(90)
    freqs = table[torch.from_numpy(pos_hw)].flatten(1)
    cos, sin = vision_cos_sin(pos_hw, head_dim)
    assert cos.shape == sin.shape == (1, 41, head_dim // 2)
    assert cos.dtype == sin.dtype == np.float32
    x = torch.randn(1, 41, 4, head_dim, generator=torch.Generator().manual_seed(2))
    expected = modeling.apply_rotary_pos_emb_vision(x, freqs).numpy()
    low, high = np.split(x.numpy(), 2, axis=-1)
    c, s = cos[:, :, None], sin[:, :, None]
    rotated = np.concatenate([low * c - high * s, high * c + low * s], axis=-1)
    np.testing.assert_allclose(rotated, expected, atol=2e-5 * np.abs(expected).max())
