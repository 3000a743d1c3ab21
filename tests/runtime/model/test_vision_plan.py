from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from omnijet.export.checkpoint.config import read_dims
from omnijet.export.synthetic.presets import preset
from omnijet.runtime.bundle.contract import graph_contracts
from omnijet.runtime.bundle.dims import VisionEncoderDims
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.model.rope import vision_cos_sin
from omnijet.runtime.model.vision_plan import VisionPlan, plan

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "misc.json").read_text())["vision"]
DIMS = VisionEncoderDims(
    hidden=1280,
    layers=32,
    heads=16,
    ffn=3420,
    in_channels=3,
    patch=14,
    temporal_patch=2,
    merge=2,
    window=112,
    full_attention_layers=(7, 15, 23, 31),
    out=2048,
)
NANO = read_dims(preset("nano"), None, "nano")
rng = np.random.default_rng(11)
RANDOM_GRIDS = [(int(h), int(w)) for h, w in 2 * rng.integers(1, 24, size=(40, 2))]


def window_ends(made: VisionPlan) -> np.ndarray:
    return made.window_mask.sum(axis=(1, 2, 3)).cumsum()


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: str(case["grid_thw"]))
def test_golden_frames(case: dict[str, Any]) -> None:
    cells = patches = 0
    ends = [0]
    for frames, height, width in case["grid_thw"]:
        made = plan(DIMS, height, width)
        for _ in range(frames):
            window_index = case["window_index"][cells : cells + made.cells]
            np.testing.assert_array_equal(made.cell_order + cells, window_index)
            pos_hw = np.array(case["pos_hw"][patches : patches + made.patches])
            _check_tables(made, pos_hw)
            ends += (window_ends(made) + patches).tolist()
            cells += made.cells
            patches += made.patches
    assert cells == len(case["window_index"])
    assert ends == case["cu_window_seqlens"]


@pytest.mark.parametrize("grid", RANDOM_GRIDS, ids=str)
def test_random_frames_match_the_reference(grid: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    omni = pytest.importorskip("transformers.models.qwen2_5_omni.modeling_qwen2_5_omni")
    tower = SimpleNamespace(
        window_size=DIMS.window,
        patch_size=DIMS.patch,
        spatial_merge_size=DIMS.merge,
        spatial_merge_unit=DIMS.cell_patches,
        rotary_pos_emb=omni.Qwen2_5_VisionRotaryEmbedding(DIMS.head_dim // 2),
    )
    grid_thw = torch.tensor([[1, *grid]])
    owner = omni.Qwen2_5OmniVisionEncoder
    window_index, ends = owner.get_window_index(tower, grid_thw)
    freqs = owner.rot_pos_emb(tower, grid_thw).numpy()
    made = plan(DIMS, *grid)
    np.testing.assert_array_equal(made.cell_order, window_index.numpy())
    np.testing.assert_array_equal([0, *window_ends(made)], np.unique(ends))
    np.testing.assert_allclose(made.cos[0], np.cos(freqs)[made.patch_order], atol=1e-5)
    np.testing.assert_allclose(made.sin[0], np.sin(freqs)[made.patch_order], atol=1e-5)


def _check_tables(made: VisionPlan, pos_hw: np.ndarray) -> None:
    cos, sin = vision_cos_sin(pos_hw[made.patch_order], DIMS.head_dim)
    np.testing.assert_array_equal(made.cos, cos)
    np.testing.assert_array_equal(made.sin, sin)


@pytest.mark.parametrize("grid", [(2, 2), (16, 16), (6, 10), (20, 14), (4, 46)], ids=str)
def test_windows_partition_the_patches(grid: tuple[int, int]) -> None:
    made = plan(DIMS, *grid)
    windows = len(made.window_rows)
    assert made.window_rows.shape == (windows, DIMS.window_patches)
    assert made.window_mask.shape == (windows, 1, 1, DIMS.window_patches)
    assert made.window_rows.dtype == made.window_slots.dtype == np.int64
    valid = made.window_mask[:, 0, 0]
    np.testing.assert_array_equal(made.window_rows[valid], np.arange(made.patches))
    assert not made.window_rows[~valid].any()
    assert valid.any(axis=1).all()
    slots = made.window_rows.ravel()[made.window_slots]
    np.testing.assert_array_equal(slots, np.arange(made.patches))
    # every window lies inside one 8 x 8 block of the frame
    merged = np.empty((made.patches, 2), np.int64)
    cells = np.indices((grid[0] // 2, grid[1] // 2)).reshape(2, -1).T
    merged[:] = np.repeat(cells, DIMS.cell_patches, axis=0)
    blocks = merged[made.patch_order] // DIMS.window_cells
    for rows, keep in zip(made.window_rows, valid, strict=True):
        assert len(np.unique(blocks[rows[keep]], axis=0)) == 1


def test_feeds_and_restore_are_inverse() -> None:
    made = plan(DIMS, 20, 14)
    patches = np.random.default_rng(0).standard_normal((280, 12)).astype(np.float32)
    feeds = made.feeds(patches)
    assert list(feeds) == [
        "patches", "cos", "sin", "window_rows", "window_mask", "window_slots", "picture_rows",
    ]  # fmt: skip
    np.testing.assert_array_equal(feeds["patches"], patches[made.patch_order])
    assert feeds["patches"].flags.c_contiguous
    features = feeds["patches"].reshape(70, 4, 12).mean(axis=1)  # what a merger could do
    expected = patches.reshape(70, 4, 12).mean(axis=1)
    np.testing.assert_array_equal(made.restore(features), expected)
    assert not np.array_equal(features, expected)


@pytest.mark.parametrize("grid", [(2, 2), (10, 14), (26, 18)], ids=str)
def test_frames_of_one_call_stand_one_behind_the_other(grid: tuple[int, int]) -> None:
    made, count = plan(DIMS, *grid), 3
    shape = (count, made.patches, DIMS.patch_width)
    frames = np.random.default_rng(0).standard_normal(shape, np.float32)
    feeds, alone = made.feeds(*frames), [made.feeds(frame) for frame in frames]
    contract = graph_contracts(replace(NANO, vision=DIMS), "f32")["vision_encoder"]
    for spec in contract.inputs:
        wanted = spec.shape(made.sizes(count))
        assert feeds[spec.name].shape == wanted
    for frame, own in enumerate(alone):
        rows = slice(frame * made.patches, (frame + 1) * made.patches)
        windows = slice(frame * made.windows, (frame + 1) * made.windows)
        np.testing.assert_array_equal(feeds["patches"][rows], own["patches"])
        for name in ("cos", "sin"):
            np.testing.assert_array_equal(feeds[name][:, rows], own[name])
        np.testing.assert_array_equal(feeds["window_mask"][windows], own["window_mask"])
        # what a window and a picture gather is what they gather alone
        for name, places in (("window_rows", windows), ("picture_rows", slice(frame, frame + 1))):
            gathered = feeds["patches"][feeds[name][places]]
            np.testing.assert_array_equal(gathered, own["patches"][own[name]])
    np.testing.assert_array_equal(
        feeds["window_rows"].ravel()[feeds["window_slots"]], np.arange(count * made.patches)
    )


def test_a_clip_shares_one_read_only_plan() -> None:
    made = plan(DIMS, 12, 18)
    assert plan(DIMS, 12, 18) is made
    for array in (made.cos, made.window_rows, made.window_mask, made.patch_order):
        assert not array.flags.writeable


@pytest.mark.parametrize("grid", [(3, 4), (4, 5), (0, 4)])
def test_odd_grids(grid: tuple[int, int]) -> None:
    with pytest.raises(OmnijetError, match="multiples of 2"):
        plan(DIMS, *grid)


def test_wrong_sizes() -> None:
    made = plan(DIMS, 4, 4)
    with pytest.raises(OmnijetError, match="16 rows"):
        made.feeds(np.zeros((12, 1176), np.float32))
    with pytest.raises(OmnijetError, match="number of features"):
        made.restore(np.zeros((5, 8), np.float32))
