from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.dims import AudioEncoderDims, audio_token_count
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.model.audio_plan import plan_audio

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "misc.json").read_text())["audio"]
DIMS = AudioEncoderDims(
    n_mels=4, hidden=8, layers=1, heads=2, ffn=16, n_window=100, max_positions=1500, out=6
)


def random_mels(lengths: list[int]) -> list[Array]:
    rng = np.random.default_rng(sum(lengths))
    return [rng.standard_normal((4, length)).astype(np.float32) for length in lengths]


def encode(feeds: dict[str, Array]) -> Array:
    """Stands in for the graph and keeps track of rows: features f32[tokens, n_mels].

    Each position averages its two mel frames (real ones only), each token its positions.
    """
    assert not feeds["mel"][np.broadcast_to(feeds["frame_mask"] == 0, feeds["mel"].shape)].any()
    chunks, mels, width = feeds["mel"].shape
    positions = (feeds["mel"] * feeds["frame_mask"]).reshape(chunks, mels, width // 2, 2).mean(-1)
    rows = positions.transpose(0, 2, 1).reshape(-1, mels)
    assert feeds["key_mask"].ravel()[feeds["pool_rows"]].all()
    pooled: Array = rows[feeds["pool_rows"]].mean(axis=1)
    return pooled


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: str(case["feature_lens"]))
def test_golden_lengths(case: dict[str, Any]) -> None:
    lengths = case["feature_lens"]
    made = plan_audio(DIMS, lengths)
    assert list(made.token_counts) == case["formula"]
    (feeds,) = made.batches(random_mels(lengths))
    # a chunk of 1 or 2 frames makes no token and is left out
    kept = np.array(case["chunk_lengths"]) > 2
    chunk_lengths = np.array(case["chunk_lengths"])[kept]
    np.testing.assert_array_equal(feeds["frame_mask"].sum(axis=(1, 2)), chunk_lengths)
    positions = feeds["key_mask"].sum(axis=(1, 2, 3))
    np.testing.assert_array_equal(positions, np.diff(case["cu_seqlens"])[kept])
    # rows among valid positions only, which is what the reference numbers
    compact = feeds["key_mask"].ravel().cumsum() - 1
    head = case["pool_first_indices_head"]
    rows = compact[feeds["pool_rows"]]
    np.testing.assert_array_equal(rows[: len(head), 0], head[: len(rows)])
    np.testing.assert_array_equal(rows[:, 1], rows[:, 0] + 1)
    if len(lengths) == 1:
        assert len(feeds["pool_rows"]) == case["n_out"]


@pytest.mark.parametrize("seed", range(12))
def test_pooling_matches_the_reference(seed: int) -> None:
    """Chunks, masks and pooling equal those of the reference encoder without its layers."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 900, size=rng.integers(1, 5)).tolist()
    made = plan_audio(DIMS, lengths)
    mels = random_mels(lengths)
    expected = []
    for mel in mels:
        pieces = torch.from_numpy(mel).split(200, dim=1)
        padded = [torch.nn.functional.pad(p, (0, p.shape[1] % 2)) for p in pieces]
        hidden = torch.cat([p.reshape(4, -1, 2).mean(-1) for p in padded], dim=1)
        expected.append(torch.nn.functional.avg_pool1d(hidden[None], 2, stride=2)[0].T.numpy())
    for max_chunks in (None, 1, 3):
        features = np.concatenate([encode(feeds) for feeds in made.batches(mels, max_chunks)])
        sounds = np.split(features, np.cumsum(made.token_counts)[:-1])
        for got, wanted in zip(sounds, expected, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_feeds_follow_the_contract() -> None:
    made = plan_audio(DIMS, [250, 87])
    (feeds,) = made.batches(random_mels([250, 87]))
    shapes = {name: (array.dtype.name, array.shape) for name, array in feeds.items()}
    assert shapes == {
        "mel": ("float32", (3, 4, 200)),
        "frame_mask": ("float32", (3, 1, 200)),
        "key_mask": ("bool", (3, 1, 1, 100)),
        "pool_rows": ("int64", (62 + 22, 2)),
    }


def test_one_array_of_all_sounds() -> None:
    lengths = [250, 3, 401]
    made = plan_audio(DIMS, lengths)
    mels = random_mels(lengths)
    (separate,) = made.batches(mels)
    (joined,) = made.batches(np.concatenate(mels, axis=1))
    for name, array in separate.items():
        np.testing.assert_array_equal(array, joined[name])


def test_five_minutes_in_batches() -> None:
    made = plan_audio(DIMS, [30000])
    sizes = [len(feeds["mel"]) for feeds in made.batches(np.ones((4, 30000), np.float32), 64)]
    assert sizes == [64, 64, 22]
    assert made.token_counts == (7500,)


def test_every_length_adds_up() -> None:
    for length in range(3, 650):
        made = plan_audio(DIMS, [length])
        assert sum(chunk.tokens for chunk in made.chunks) == audio_token_count(length)
        assert audio_token_count(length) == ((length - 1) // 2 + 1 - 2) // 2 + 1
        assert all(chunk.tokens for chunk in made.chunks)


@pytest.mark.parametrize("length", [0, 1, 2])
def test_too_short(length: int) -> None:
    assert audio_token_count(length) == 0
    with pytest.raises(OmnijetError, match=f"{length} mel frames") as caught:
        plan_audio(DIMS, [300, length])
    assert "audio 2" in str(caught.value)


def test_wrong_shapes() -> None:
    made = plan_audio(DIMS, [20, 30])
    with pytest.raises(OmnijetError, match="audio 2"):
        next(made.batches([np.ones((4, 20)), np.ones((4, 31))]))
    with pytest.raises(OmnijetError, match="mel"):
        next(made.batches(np.ones((4, 51))))


def test_odd_chunks_are_refused() -> None:
    with pytest.raises(AssertionError, match="border"):
        plan_audio(replace(DIMS, n_window=5), [40])
