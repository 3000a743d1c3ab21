"""The least a stage must compute and read, counted from the model's dimensions.

Products of matrices and convolutions, and attention over what may be seen. Left out, so that
the count is a floor: norms, activations, resampling, softmax, padding, what streaming computes
twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from omnijet.runtime.bundle.contract import NUMPY_DTYPES
from omnijet.runtime.bundle.dims import (
    AudioEncoderDims,
    DecoderDims,
    DitDims,
    VisionEncoderDims,
    VocoderDims,
)
from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.model.audio_plan import plan_audio
from omnijet.runtime.speech.solver import Solver


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one step, or of a whole stage.

    Attributes:
        operations: floating-point; a multiply-add is two.
        bytes: read at each pass: weights, keys and values.
        passes: how often they are.
    """

    operations: float
    bytes: float
    passes: int = 1


def decode_step(manifest: Manifest, graph: str, dims: DecoderDims, rows: float) -> Cost:
    """One step of a decoder over `rows` rows of cache."""
    width = NUMPY_DTYPES[manifest.precision].itemsize
    cache = 2 * dims.layers * dims.kv_heads * dims.head_dim * rows * width
    products = decoder_products(dims) + _head(dims) + _attention(dims, rows)
    return Cost(2 * products, manifest.graphs[graph].weight_bytes + cache)


def prefill(manifest: Manifest, graph: str, dims: DecoderDims, rows: int) -> Cost:
    """A prompt of `rows` rows through a decoder; each row sees itself and those before it,
    the head reads the last alone."""
    seen = rows * (rows + 1) / 2
    products = rows * decoder_products(dims) + _head(dims) + _attention(dims, seen)
    return Cost(2 * products, manifest.graphs[graph].weight_bytes)


def decoder_products(dims: DecoderDims) -> int:
    """Multiply-adds of a row but attention and head."""
    inner = dims.heads * dims.head_dim
    attended = dims.hidden * (2 * inner + 2 * dims.kv_heads * dims.head_dim)
    projected = dims.embed_width * dims.hidden if dims.embed_width != dims.hidden else 0
    return projected + dims.layers * (attended + 3 * dims.hidden * dims.ffn)


def _head(dims: DecoderDims) -> int:
    return dims.hidden * dims.vocab


def _attention(dims: DecoderDims, pairs: float) -> float:
    """Of so many pairs of a query and a key: scores, and values weighed by them."""
    return 2 * dims.layers * dims.heads * dims.head_dim * pairs


def audio_encoder(manifest: Manifest, dims: AudioEncoderDims, sounds: Sequence[int]) -> Cost:
    """Sounds of so many mel frames; attention stays inside chunks of 2 s."""
    width = dims.hidden
    layer = 4 * width**2 + 2 * width * dims.ffn
    products = 0
    for chunk in plan_audio(dims, sounds).chunks:
        products += 3 * width * (chunk.frames * dims.n_mels + chunk.positions * width)
        products += dims.layers * (chunk.positions * layer + 2 * chunk.positions**2 * width)
        products += chunk.tokens * width * dims.out
    return Cost(2.0 * products, manifest.graphs["audio_encoder"].weight_bytes)


def vision_encoder(
    manifest: Manifest, dims: VisionEncoderDims, grids: Sequence[Sequence[int]]
) -> Cost:
    """Pictures and clips of (temporal steps, height, width) patches; windows at the edge are
    cut short."""
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
    """Sum of the squares of the pieces of at most `side` that a length is cut into."""
    return length // side * side**2 + (length % side) ** 2


def dit(manifest: Manifest, dims: DitDims, frames: int, solver: Solver) -> Cost:
    """Solving the flow for so many mel frames at once. A layer that looks back or ahead sees
    one block more, where there is one."""
    inner = dims.heads * dims.head_dim
    linear = 4 * dims.hidden * inner + 2 * dims.ff_mult * dims.hidden**2
    looking = len(dims.look_back_layers) + len(dims.look_ahead_layers)
    whole, rest = divmod(frames, dims.block)
    own = whole * dims.block**2 + rest**2  # pairs inside blocks
    beside = max(whole - 1, 0) * dims.block**2 + (rest * dims.block if whole else 0)
    attention = 2 * inner * (dims.layers * own + looking * beside)
    projected = frames * dims.mel * dims.hidden  # in: once for both branches; out: of each
    branch = projected + frames * dims.layers * linear + attention
    evaluations = len(solver.evaluations)
    products = solver.branch_evaluations * branch + evaluations * projected
    return Cost(2.0 * products, manifest.graphs["dit_step"].weight_bytes, evaluations)


def vocoder(manifest: Manifest, dims: VocoderDims, frames: int) -> Cost:
    """So many mel frames to sound."""
    operations = 2.0 * frames * vocoder_products(dims)
    return Cost(operations, manifest.graphs["vocoder"].weight_bytes)


def vocoder_products(dims: VocoderDims) -> int:
    """Multiply-adds of all convolutions but the resampling ones, for one mel frame."""
    width, samples = dims.channels, 1
    total = dims.mel * width * 7
    for rate, kernel in zip(dims.rates, dims.kernels, strict=True):
        total += samples * width * (width // 2) * kernel
        width, samples = width // 2, samples * rate
        for size, dilations in zip(dims.resblock_kernels, dims.resblock_dilations, strict=True):
            total += samples * 2 * len(dilations) * width * width * size
    return total + samples * width * 7
