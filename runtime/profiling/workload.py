"""Counts the least that a stage must compute and read, from the model's dimensions.

The count covers matrix products, convolutions, and attention over visible keys. It leaves out
norms, activations, resampling, softmax, padding and what streaming computes twice, so that it is
a floor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from omnijet.runtime.bundle.contract import NUMPY_DTYPES, Precision
from omnijet.runtime.bundle.dims import (
    AudioEncoderDims,
    DecoderDims,
    DitDims,
    VisionEncoderDims,
    VocoderDims,
)
from omnijet.runtime.model.audio_plan import plan_audio
from omnijet.runtime.speech.solver import Solver


class Weighed(Protocol):
    """A graph whose weights take a number of bytes."""

    @property
    def weight_bytes(self) -> int: ...


class Held(Protocol):
    """A model's graphs with their weights, such as a manifest."""

    @property
    def precision(self) -> Precision:
        """Type of the KV caches."""

    @property
    def graphs(self) -> Mapping[str, Weighed]: ...


@dataclass(frozen=True, slots=True)
class Cost:
    """The least cost of one step or of a whole stage.

    Attributes:
        operations: floating-point operations; a multiply-add counts as two.
        bytes: bytes read in each pass: weights, keys and values.
        passes: number of passes.
    """

    operations: float
    bytes: float
    passes: int = 1


def decode_step(manifest: Held, graph: str, dims: DecoderDims, rows: float) -> Cost:
    """Returns the cost of one decode step over `rows` rows of cache."""
    width = NUMPY_DTYPES[manifest.precision].itemsize
    cache = 2 * dims.layers * dims.kv_heads * dims.head_dim * rows * width
    products = decoder_products(dims) + _head(dims) + _attention(dims, rows)
    return Cost(2 * products, manifest.graphs[graph].weight_bytes + cache)


def prefill(manifest: Held, graph: str, dims: DecoderDims, rows: int) -> Cost:
    """Returns the cost of a prefill of `rows` rows.

    Each row sees itself and the rows before it; the head reads the last row alone.
    """
    seen = rows * (rows + 1) / 2
    products = rows * decoder_products(dims) + _head(dims) + _attention(dims, seen)
    return Cost(2 * products, manifest.graphs[graph].weight_bytes)


def decoder_products(dims: DecoderDims) -> int:
    """Returns the multiply-adds per row, without attention and head."""
    inner = dims.heads * dims.head_dim
    attended = dims.hidden * (2 * inner + 2 * dims.kv_heads * dims.head_dim)
    projected = dims.embed_width * dims.hidden if dims.embed_width != dims.hidden else 0
    return projected + dims.layers * (attended + 3 * dims.hidden * dims.ffn)


def _head(dims: DecoderDims) -> int:
    return dims.hidden * dims.vocab


def _attention(dims: DecoderDims, pairs: float) -> float:
    """Returns the multiply-adds of attention over pairs of a query and a key."""
    return 2 * dims.layers * dims.heads * dims.head_dim * pairs


def audio_encoder(manifest: Held, dims: AudioEncoderDims, sounds: Sequence[int]) -> Cost:
    """Returns the cost of sounds, given as mel frames; attention stays in chunks of 2 s."""
    width = dims.hidden
    layer = 4 * width**2 + 2 * width * dims.ffn
    products = 0
    for chunk in plan_audio(dims, sounds).chunks:
        products += 3 * width * (chunk.frames * dims.n_mels + chunk.positions * width)
        products += dims.layers * (chunk.positions * layer + 2 * chunk.positions**2 * width)
        products += chunk.tokens * width * dims.out
    return Cost(2.0 * products, manifest.graphs["audio_encoder"].weight_bytes)


def vision_encoder(manifest: Held, dims: VisionEncoderDims, grids: Sequence[Sequence[int]]) -> Cost:
    """Returns the cost of pictures and clips, given as (temporal steps, height, width) patches.

    Windows at the edges are smaller.
    """
    width, full = dims.hidden, len(dims.full_attention_layers)
    side = dims.window_cells * dims.merge  # patches
    merged = width * dims.cell_patches
    products = 0
    for steps, height, across in grids:
        patches = height * across
        windowed = _squares(height, side) * _squares(across, side)
        pairs = full * patches**2 + (dims.layers - full) * windowed
        layer = 4 * width**2 + 3 * width * dims.ffn
        frame = patches * (dims.patch_width * width + dims.layers * layer) + 2 * width * pairs
        frame += patches // dims.cell_patches * merged * (merged + dims.out)
        products += steps * frame
    return Cost(2.0 * products, manifest.graphs["vision_encoder"].weight_bytes)


def _squares(length: int, side: int) -> int:
    """Returns the sum of squares of the pieces of `side` into which a length is cut."""
    return length // side * side**2 + (length % side) ** 2


def dit(manifest: Held, dims: DitDims, frames: int, solver: Solver) -> Cost:
    """Returns the cost of solving the flow for `frames` mel frames at once.

    A layer that looks back or ahead sees one more block where there is one.
    """
    inner = dims.heads * dims.head_dim
    linear = 4 * dims.hidden * inner + 2 * dims.ff_mult * dims.hidden**2
    looking = len(dims.look_back_layers) + len(dims.look_ahead_layers)
    whole, rest = divmod(frames, dims.block)
    own = whole * dims.block**2 + rest**2  # pairs inside blocks
    beside = max(whole - 1, 0) * dims.block**2 + (rest * dims.block if whole else 0)
    attention = 2 * inner * (dims.layers * own + looking * beside)
    projected = frames * dims.mel * dims.hidden  # input: once for both branches; output: per branch
    branch = projected + frames * dims.layers * linear + attention
    evaluations = len(solver.evaluations)
    products = solver.branch_evaluations * branch + evaluations * projected
    return Cost(2.0 * products, manifest.graphs["dit_step"].weight_bytes, evaluations)


def vocoder(manifest: Held, dims: VocoderDims, frames: int) -> Cost:
    """Returns the cost of vocoding `frames` mel frames."""
    operations = 2.0 * frames * vocoder_products(dims)
    return Cost(operations, manifest.graphs["vocoder"].weight_bytes)


def vocoder_products(dims: VocoderDims) -> int:
    """Returns the multiply-adds per mel frame of all convolutions but the resampling ones."""
    width, samples = dims.channels, 1
    total = dims.mel * width * 7
    for rate, kernel in zip(dims.rates, dims.kernels, strict=True):
        total += samples * width * (width // 2) * kernel
        width, samples = width // 2, samples * rate
        for size, dilations in zip(dims.resblock_kernels, dims.resblock_dilations, strict=True):
            total += samples * 2 * len(dilations) * width * width * size
    return total + samples * width * 7
