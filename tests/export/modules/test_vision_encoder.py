"""Compares the graph `vision_encoder` with transformers, one frame per call and several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import (
    Qwen2_5OmniVisionEncoderConfig,
)
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniVisionEncoder

from omnijet.export.modules import vision_encoder
from omnijet.export.modules.vision_encoder import KEY, VisionEncoder
from omnijet.export.trace.tracer import trace
from omnijet.runtime.bundle.contract import Precision
from omnijet.runtime.bundle.dims import VisionEncoderDims
from omnijet.runtime.model.vision_plan import plan
from tests.export.modules.parity import (
    DictWeights,
    call,
    checkpoint,
    contract_of,
    load,
    open_in_onnxruntime,
    published_dims,
    relative_error,
    revive,
    unread,
)

F16_MAX = 65504

DIMS = {
    "3b": VisionEncoderDims(
        hidden=64,
        layers=4,
        heads=4,
        ffn=90,
        in_channels=3,
        patch=14,
        temporal_patch=2,
        merge=2,
        window=112,
        full_attention_layers=(1, 3),
        out=48,
    ),
    # heads of width 40, an odd MLP width, small patches, windows of 6 x 6 patches
    "odd": VisionEncoderDims(
        hidden=120,
        layers=3,
        heads=3,
        ffn=85,
        in_channels=3,
        patch=4,
        temporal_patch=2,
        merge=2,
        window=24,
        full_attention_layers=(0,),
        out=56,
    ),
}
# (frames, height, width) in patches: inside a window, cut windows, full windows, a clip
GRIDS = [(1, 4, 4), (1, 10, 14), (1, 26, 18), (1, 16, 24), (2, 6, 10), (1, 2, 2)]


@dataclass(frozen=True, slots=True)
class Case:
    dims: VisionEncoderDims
    reference: Qwen2_5OmniVisionEncoder
    weights: DictWeights

    def patches(self, *grids: tuple[int, int, int]) -> Tensor:
        rows = sum(t * h * w for t, h, w in grids)
        generator = torch.Generator().manual_seed(7)
        return torch.randn(rows, self.dims.patch_width, generator=generator)

    def expected(self, patches: Tensor, *grids: tuple[int, int, int]) -> Tensor:
        features: Tensor = self.reference(patches, torch.tensor(grids))
        return features

    def ours(self, precision: Precision, patches: Tensor, *grids: tuple[int, int, int]) -> Tensor:
        """Encodes the frames of all grids, one per call, and joins them in reference order."""
        module = load(VisionEncoder(self.dims, precision), self.weights)
        found: list[Tensor] = []
        for _, height, width in frames_of(grids):
            count = height * width
            frame, patches = patches[:count], patches[count:]
            feeds, order = self.feeds(frame, height, width)
            (features,) = module(*feeds)
            found.append(features[order.argsort()])
        return torch.cat(found)

    def feeds(self, frame: Tensor, height: int, width: int) -> tuple[tuple[Tensor, ...], Tensor]:
        """Returns the graph's inputs, made from the reference's indices, and its order of cells."""
        dims, grid = self.dims, torch.tensor([[1, height, width]])
        order, bounds = self.reference.get_window_index(grid)
        places = (order[:, None] * dims.cell_patches + torch.arange(dims.cell_patches)).flatten()
        angles = self.reference.rot_pos_emb(grid)[places][None]
        # the reference lists empty windows too, as repeated bounds
        edges = sorted(set(bounds))
        rows = torch.zeros(len(edges) - 1, dims.window_patches, dtype=torch.int64)
        mask = torch.zeros(rows.shape, dtype=torch.bool)
        slots = []
        for window, (start, stop) in enumerate(pairwise(edges)):
            rows[window, : stop - start] = torch.arange(start, stop)
            mask[window, : stop - start] = True
            slots.append(window * dims.window_patches + torch.arange(stop - start))
        mask = mask[:, None, None]
        picture = torch.arange(height * width)[None]
        tables = (angles.cos(), angles.sin(), rows, mask, torch.cat(slots), picture)
        return (frame[places], *tables), order


def frames_of(grids: tuple[tuple[int, int, int], ...]) -> Iterator[tuple[int, int, int]]:
    for frames, height, width in grids:
        for _ in range(frames):
            yield 1, height, width


def make_case(dims: VisionEncoderDims) -> Case:
    config = Qwen2_5OmniVisionEncoderConfig(
        depth=dims.layers,
        hidden_size=dims.hidden,
        intermediate_size=dims.ffn,
        num_heads=dims.heads,
        in_channels=dims.in_channels,
        patch_size=dims.patch,
        temporal_patch_size=dims.temporal_patch,
        spatial_merge_size=dims.merge,
        window_size=dims.window,
        out_hidden_size=dims.out,
        fullatt_block_indexes=list(dims.full_attention_layers),
    )
    reference = Qwen2_5OmniVisionEncoder._from_config(config, attn_implementation="eager").eval()
    revive(reference, seed=4)
    return Case(dims, reference, checkpoint(reference, KEY))


@pytest.fixture(scope="module", params=DIMS)
def case(request: pytest.FixtureRequest) -> Case:
    return make_case(DIMS[request.param])


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@torch.no_grad()
def test_f32_equals_the_reference(case: Case, grid: tuple[int, int, int]) -> None:
    patches = case.patches(grid)
    ours, expected = case.ours("f32", patches, grid), case.expected(patches, grid)
    assert relative_error(ours, expected) <= 1e-5


@torch.no_grad()
def test_f32_equals_the_reference_on_a_picture_almost_grey(case: Case) -> None:
    """Small activations show the norm's epsilon."""
    grid = (1, 10, 14)
    patches = 0.01 * case.patches(grid)
    ours, expected = case.ours("f32", patches, grid), case.expected(patches, grid)
    assert relative_error(ours, expected) <= 1e-5


@torch.no_grad()
def test_frames_one_by_one_equal_all_pictures_in_one_call(case: Case) -> None:
    patches = case.patches(*GRIDS)
    ours, expected = case.ours("f32", patches, *GRIDS), case.expected(patches, *GRIDS)
    assert relative_error(ours, expected) <= 1e-5


@torch.no_grad()
def test_the_host_plan_gives_the_features_of_the_reference_indices(case: Case) -> None:
    height, width = 26, 18
    patches = case.patches((1, height, width))
    host = plan(case.dims, height, width)
    # torch requires writable arrays, and the plan's arrays are shared and read-only
    feeds = [torch.from_numpy(feed.copy()) for feed in host.feeds(patches.numpy()).values()]
    (features,) = load(VisionEncoder(case.dims, "f32"), case.weights)(*feeds)
    restored = torch.from_numpy(host.restore(features.numpy()))
    assert relative_error(restored, case.expected(patches, (1, height, width))) <= 1e-5


CLIPS = [(2, 6, 10), (3, 10, 14), (5, 2, 2), (4, 16, 24), (2, 26, 18)]
"""Frames of one cell, of cut windows, of full windows, of both."""


def host_feeds(dims: VisionEncoderDims, clip: Tensor, grid: tuple[int, int, int]) -> list[Tensor]:
    """Returns the runtime's inputs of a call with all frames of a clip."""
    frames = clip.reshape(grid[0], -1, clip.shape[1]).numpy()
    feeds = plan(dims, *grid[1:]).feeds(*frames)
    return [torch.from_numpy(feed.copy()) for feed in feeds.values()]


def restored(dims: VisionEncoderDims, features: Tensor, grid: tuple[int, int, int]) -> Tensor:
    frames = features.numpy().reshape(grid[0], -1, features.shape[1])
    return torch.from_numpy(np.concatenate([plan(dims, *grid[1:]).restore(one) for one in frames]))


@pytest.mark.parametrize("grid", CLIPS, ids=str)
@torch.no_grad()
def test_frames_of_a_clip_in_one_call_equal_the_reference(
    case: Case, grid: tuple[int, int, int]
) -> None:
    patches = case.patches(grid)
    (features,) = load(VisionEncoder(case.dims, "f32"), case.weights)(
        *host_feeds(case.dims, patches, grid)
    )
    ours = restored(case.dims, features, grid)
    assert relative_error(ours, case.expected(patches, grid)) <= 1e-5


@torch.no_grad()
def test_what_pads_a_short_window_changes_nothing(case: Case) -> None:
    feeds, _ = case.feeds(case.patches((1, 10, 14)), 10, 14)
    patches, cos, sin, rows, mask, slots, picture = feeds
    padding = ~mask[:, 0, 0]
    assert padding.any()
    others = torch.where(padding, (rows + 77) % len(patches), rows)
    module = load(VisionEncoder(case.dims, "f32"), case.weights)
    (expected,) = module(*feeds)
    (got,) = module(patches, cos, sin, others, mask, slots, picture)
    assert relative_error(got, expected) <= 1e-6


@pytest.mark.parametrize(("precision", "tolerance"), [("f16", 1e-2), ("bf16", 3e-2)])
@torch.no_grad()
def test_16_bits_stay_near_the_reference(
    case: Case, precision: Precision, tolerance: float
) -> None:
    grid = (1, 10, 14)
    patches = case.patches(grid)
    ours, expected = case.ours(precision, patches, grid), case.expected(patches, grid)
    assert relative_error(ours, expected) <= tolerance


@torch.no_grad()
def test_an_mlp_beyond_the_range_of_f16_is_guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    case, grid = make_case(DIMS["3b"]), (1, 10, 14)
    patches = case.patches(grid)
    mlp = case.reference.blocks[0].mlp
    mlp.gate_proj.weight[3] *= 300
    mlp.up_proj.weight[3] *= 300
    mlp.down_proj.weight[:, 3] /= 3000
    seen: list[float] = []
    hook = mlp.down_proj.register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].abs().max().item())
    )
    expected = case.expected(patches, grid)
    hook.remove()
    assert F16_MAX < max(seen) < F16_MAX * 2**vision_encoder.DOWN_SHIFT
    assert relative_error(case.ours("f16", patches, grid), expected) <= 1e-2
    monkeypatch.setattr(vision_encoder, "DOWN_SHIFT", 0)
    assert not case.ours("f16", patches, grid).isfinite().all()


def test_every_tensor_of_the_tower_is_read(case: Case) -> None:
    assert unread(VisionEncoder(case.dims, "f32"), case.weights) == set()


@pytest.mark.parametrize(("precision", "tolerance"), [("f32", 1e-5), ("f16", 1e-2), ("bf16", 3e-2)])
@torch.no_grad()
def test_traced_it_equals_the_reference_at_any_size(precision: Precision, tolerance: float) -> None:
    case = make_case(DIMS["3b"])
    contract = contract_of("vision_encoder", replace(published_dims(), vision=case.dims), precision)
    model = trace(VisionEncoder(case.dims, precision), contract)
    ops = Counter(node.op_type for node in model.graph)
    full = len(case.dims.full_attention_layers)
    # full attention processes query blocks one after the other
    assert ops["Attention"] == case.dims.layers - full and ops["Scan"] == full
    session = open_in_onnxruntime(model, load(VisionEncoder(case.dims, precision), case.weights))
    for grid in ((1, 2, 2), (1, 10, 14), (1, 26, 18)):
        patches = case.patches(grid)
        feeds, order = case.feeds(patches, *grid[1:])
        (features,) = call(session, feeds)
        expected = case.expected(patches, grid)
        assert relative_error(features[order.argsort()], expected) <= tolerance
    for grid in CLIPS:
        patches = case.patches(grid)
        (features,) = call(session, host_feeds(case.dims, patches, grid))
        ours = restored(case.dims, features, grid)
        assert relative_error(ours, case.expected(patches, grid)) <= tolerance
