"""The memory of running a model on a target, and of building it there, by part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from omnijet.deployment.planner.sizes import Sizes
from omnijet.deployment.planner.weights import Held, Weights, table_bytes
from omnijet.deployment.planner.work import row_bytes
from omnijet.engines.targets.build_rates import RATES, SYSTEM_BYTES, least_bytes, predicted_bytes
from omnijet.engines.targets.target import Target
from omnijet.runtime.bundle.contract import NUMPY_DTYPES, graph_contracts
from omnijet.runtime.bundle.dims import DecoderDims, ModelDims

PYTHON_BYTES = 150_000_000
"""Python and libraries, mapped pages among them: 0.152 GB in `make bench-full`."""
CUDA_BYTES = 400_000_000
"""A CUDA context with TensorRT's libraries: an estimate, nothing of it was measured here."""
CARD_BYTES = 500_000_000
"""What a desktop and the driver keep of a card's memory: an estimate."""
TOUCHED_ROWS, PAGE = 8192, 4096
"""Rows of the mapped embeddings that a conversation touches, at most a page or two each."""
LIVE = 4
"""Values of a layer of the vocoder that live at once."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes by part.

    Attributes:
        building: by graph, what the process takes that builds it: at least, and as predicted or
            published. Graphs are built one after the other.
        builds_here: whether the device itself must build; TensorRT-RTX builds anywhere.
        device: bytes of the machine, or of the card; None: not known.
        system: what others keep of it.
    """

    running: Mapping[str, int]
    building: Mapping[str, tuple[int, int]]
    builds_here: bool
    device: int | None
    system: int

    @property
    def needed(self) -> int:
        """Bytes to run."""
        return sum(self.running.values())

    @property
    def usable(self) -> int | None:
        return None if self.device is None else self.device - self.system

    @property
    def build_least(self) -> int:
        """Bytes without which no build of the largest graph is known to succeed."""
        return max((least for least, _ in self.building.values()), default=0)

    @property
    def build_likely(self) -> int:
        """Bytes that building the largest graph may take."""
        return max((likely for _, likely in self.building.values()), default=0)


def memory_of(dims: ModelDims, held: Held, target: Target, sizes: Sizes) -> Memory:
    """Returns the memory of a model on a target."""
    decoders = _decoders(dims)
    running = {f"weights: {graph}": weights.bytes for graph, weights in held.graphs.items()}
    rows = sum(row_bytes(decoder, held) for decoder in decoders.values())
    running["KV caches"] = round(rows * sizes.capacity * sizes.copies)
    running["tables that are touched"] = min(
        sum(table_bytes(dims, held.precision).values()), TOUCHED_ROWS * PAGE
    )
    running["inputs and outputs"] = sum(_buffers(dims, held, sizes).values())
    running["scratch of the graphs"] = sum(scratch(dims, target, sizes).values())
    running["Python and libraries"] = PYTHON_BYTES
    if target.device.name != "cpu":
        running["CUDA and TensorRT"] = CUDA_BYTES
    device = None if target.memory_gb is None else round(1e9 * target.memory_gb)
    shared = target.device.shared
    return Memory(
        running,
        {graph: _build(weights, target) for graph, weights in held.graphs.items()},
        target.library != "tensorrt_rtx",
        device,
        SYSTEM_BYTES if shared else CARD_BYTES,
    )


def _build(weights: Weights, target: Target) -> tuple[int, int]:
    counted = _Counted(weights.bytes, weights.stored.get("int4", 0), weights.largest)
    likely = predicted_bytes(counted, target.library)
    if target.library != "tensorrt":
        return least_bytes(counted, target.library), likely
    # what TensorRT-RTX was measured to take, beside what was published for TensorRT
    assert RATES["tensorrt_rtx"].each < RATES["tensorrt"].each
    return least_bytes(counted, "tensorrt_rtx"), likely


@dataclass(frozen=True, slots=True)
class _Counted:
    total: int
    packed: int
    largest: int


def _buffers(dims: ModelDims, held: Held, sizes: Sizes) -> dict[str, int]:
    """Returns the bytes of the largest inputs and outputs of each graph, without the caches."""
    found = {}
    for name, contract in graph_contracts(dims, held.precision).items():
        caches = {pair.input for pair in contract.state} | {pair.output for pair in contract.state}
        total = 0
        for spec in (*contract.inputs, *contract.outputs):
            if spec.name not in caches:
                count = 1
                for size in spec.shape(sizes.limits):
                    count *= size
                total += count * NUMPY_DTYPES[spec.dtype].itemsize
        found[name] = total
    return found


def scratch(dims: ModelDims, target: Target, sizes: Sizes) -> dict[str, int]:
    """Returns the bytes of what lives within the largest layer of each graph, in f32.

    Scores of attention are stored where no kernel fuses it: in decomposed graphs and on a CPU.
    """
    limits, stores = sizes.limits, target.flavour != "native"
    found = {}
    audio, vision = dims.audio, dims.vision
    positions = limits["chunks"] * audio.chunk_positions
    scores = positions * audio.chunk_positions * audio.heads * stores
    found["audio_encoder"] = 4 * (positions * (audio.ffn + 6 * audio.hidden) + scores)
    patches = limits["cells"] * vision.cell_patches
    scores = vision.heads * patches * vision.window_patches * stores
    if target.flavour == "decomposed":  # one picture's scores, in f16 twice
        scores = vision.heads * patches**2
    found["vision_encoder"] = 4 * (patches * (2 * vision.ffn + 7 * vision.hidden) + scores)
    rows = limits["rows"]
    for graph, decoder in _decoders(dims).items():
        inner = (decoder.heads + 2 * decoder.kv_heads) * decoder.head_dim
        wide = rows * (2 * decoder.ffn + 4 * decoder.hidden + inner)
        scores = decoder.heads * rows * sizes.capacity * stores
        found[graph] = 4 * wide + 6 * scores
    if dims.speech is not None:
        dit, vocoder = dims.speech.dit, dims.speech.vocoder
        frames = limits["branches"] * limits["blocks"] * dit.block
        inner = dit.heads * dit.head_dim
        found["dit_step"] = 4 * frames * (3 * inner + (4 + dit.ff_mult) * dit.hidden)
        width, samples, most = vocoder.channels, limits["frames"], 0
        for rate in vocoder.rates:
            width, samples = width // 2, samples * rate
            most = max(most, 2 * width * samples)  # at twice the rate within an activation
        found["vocoder"] = 4 * LIVE * most
    return found


def _decoders(dims: ModelDims) -> dict[str, DecoderDims]:
    speech = {} if dims.speech is None else {"talker_step": dims.speech.talker}
    return {"thinker_step": dims.thinker, **speech}
