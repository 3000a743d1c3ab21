"""Counted costs equal the sum of the graphs' own products."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from omnijet.export.modules import ops
from omnijet.export.modules.audio_encoder import AudioEncoder
from omnijet.export.modules.decoder import TalkerStep, ThinkerStep
from omnijet.export.modules.dit import DitStep
from omnijet.export.modules.vision_encoder import VisionEncoder
from omnijet.export.modules.vocoder import Vocoder
from omnijet.runtime.bundle.contract import NUMPY_DTYPES
from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.omni import Omni
from omnijet.runtime.profiling import workload
from omnijet.runtime.speech.solver import EXACT, Solver

ONE_STEP = Solver("euler, 1 step", "euler", points=(0, 27))


@pytest.fixture(scope="module")
def manifest(omni: Omni) -> Manifest:
    return omni.bundle.manifest


class Graph:
    """Counts a graph module's operations over shapes alone, on the meta device."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.products = 0  # of matrix products
        self.pairs = 0  # of attention

    def operations(self, module: nn.Module, name: str, **sizes: int) -> int:
        inputs = [
            torch.zeros(
                spec.shape({"picked": 1, **sizes}), device="meta",
                dtype=getattr(torch, NUMPY_DTYPES[spec.dtype].name),
            )
            for spec in self.manifest.contracts[name].inputs
        ]  # fmt: skip
        with FlopCounterMode(display=False) as convolutions, torch.no_grad():
            module(*inputs)
        return convolutions.get_total_flops() + 2 * (self.products + self.pairs)

    def matmul(self, x: Tensor, weight: Tensor) -> Tensor:
        self.products += x.numel() * weight.shape[-1]
        return x.new_empty(*x.shape[:-1], weight.shape[-1])

    def attention(self, q: Tensor, k: Tensor, v: Tensor, *mask: Tensor) -> Tensor:
        self.pairs += 2 * q.numel() * k.shape[-2]
        return torch.empty_like(q)


@pytest.fixture
def graph(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Graph]:
    counting = Graph(manifest)
    for name, count in (
        ("matmul", counting.matmul), ("attention", counting.attention),
        ("block_attention", counting.attention),
    ):  # fmt: skip
        monkeypatch.setattr(ops, name, count)
    yield counting


@pytest.mark.parametrize(("name", "module"), [("thinker", ThinkerStep), ("talker", TalkerStep)])
def test_a_decode_step(graph: Graph, name: str, module: Any) -> None:
    manifest = graph.manifest
    dims = getattr(manifest.dims, name)
    counted = workload.decode_step(manifest, f"{name}_step", dims, 96)
    made = graph.operations(module(dims, "f32"), f"{name}_step", rows=1, capacity=96)
    assert counted.operations == made
    cache = 96 * 2 * dims.layers * dims.kv_heads * dims.head_dim * 4
    assert counted.bytes == manifest.graphs[f"{name}_step"].weight_bytes + cache


def test_prefill_counts_only_what_a_row_may_see(graph: Graph) -> None:
    manifest, dims = graph.manifest, graph.manifest.dims.thinker
    made = graph.operations(ThinkerStep(dims, "f32"), "thinker_step", rows=64, capacity=64)
    unseen = 2 * 2 * dims.layers * dims.heads * dims.head_dim * (64 * 63 / 2)
    assert workload.prefill(manifest, "thinker_step", dims, 64).operations == made - unseen


def test_two_chunks_of_sound(graph: Graph) -> None:
    manifest, dims = graph.manifest, graph.manifest.dims.audio
    made = graph.operations(
        AudioEncoder(dims, "f32"), "audio_encoder", chunks=2, tokens=2 * dims.chunk_tokens
    )
    whole = workload.audio_encoder(manifest, dims, [2 * dims.chunk_frames])
    assert whole.operations == made
    split = workload.audio_encoder(manifest, dims, [dims.chunk_frames] * 2)
    assert split == whole and workload.audio_encoder(manifest, dims, [250]).operations < made


def test_a_picture_of_whole_windows(graph: Graph) -> None:
    manifest, dims = graph.manifest, graph.manifest.dims.vision
    side = dims.window_cells * dims.merge
    cells = 2 * dims.window_cells**2
    for frames in (1, 3):
        graph.products = graph.pairs = 0
        made = graph.operations(
            VisionEncoder(dims, "f32"), "vision_encoder", cells=frames * cells,
            windows=frames * 2, pictures=frames, picture_cells=cells,
        )  # fmt: skip
        counted = workload.vision_encoder(manifest, dims, [(frames, side, 2 * side)])
        assert counted.operations == made


def test_a_window_at_the_edge_is_cut_short(manifest: Manifest) -> None:
    dims = manifest.dims.vision
    side = dims.window_cells * dims.merge
    whole, edge = (
        workload.vision_encoder(manifest, dims, [(1, side, across)]).operations
        for across in (side, side + dims.merge)
    )
    assert whole < edge < whole * (side + dims.merge) / side * 1.1


def test_one_evaluation_of_the_dit(graph: Graph) -> None:
    manifest, dims = graph.manifest, graph.manifest.dims.dit
    made = graph.operations(DitStep(dims), "dit_step", branches=2, blocks=3)
    counted = workload.dit(manifest, dims, 3 * dims.block, ONE_STEP)
    # the graph gives the outer blocks a neighbour that is masked
    looking = len(dims.look_back_layers) + len(dims.look_ahead_layers)
    masked = 2 * 2 * 2 * looking * dims.heads * dims.head_dim * dims.block**2
    assert counted.operations == made - masked
    exact = workload.dit(manifest, dims, 3 * dims.block, EXACT)
    assert exact.operations == 36 * counted.operations
    assert exact.passes == 36 and exact.bytes == manifest.graphs["dit_step"].weight_bytes


def test_a_short_piece_of_the_dit_sees_itself_alone(manifest: Manifest) -> None:
    dims = manifest.dims.dit
    half, block = (
        workload.dit(manifest, dims, frames, ONE_STEP).operations
        for frames in (dims.block // 2, dims.block)
    )
    assert half < block / 2


def test_the_vocoder(graph: Graph) -> None:
    manifest, dims = graph.manifest, graph.manifest.dims.vocoder
    made = graph.operations(Vocoder(dims), "vocoder", frames=30)
    assert workload.vocoder(manifest, dims, 30).operations == made
