"""The work of each graph on a machine, from dimensions, weights and peak rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from omnijet.deployment.planner.amounts import Amounts
from omnijet.deployment.planner.peaks import Peaks
from omnijet.deployment.planner.weights import Held, Multiplied
from omnijet.engines.targets.toolkits import Flavour
from omnijet.runtime.bundle.contract import NUMPY_DTYPES
from omnijet.runtime.bundle.dims import DecoderDims, ModelDims
from omnijet.runtime.model.decoder import PREFILL_ROWS, SMALLEST_BUCKET
from omnijet.runtime.profiling import workload
from omnijet.runtime.speech.solver import Solver

MOVES = 3
"""How often a decomposed graph moves a row of its caches at each step (docs/attention.md)."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A model on a machine.

    Attributes:
        capacity: rows that the caches have at most.
    """

    dims: ModelDims
    held: Held
    peaks: Peaks
    flavour: Flavour
    capacity: int

    def decoder(self, graph: str) -> DecoderDims:
        return self.dims.thinker if graph == "thinker_step" else self.dims.talker

    def step(self, graph: str, rows: float) -> Amounts:
        """Returns the work of a decode step whose cache has so many rows, its own among them."""
        decoder, stored = self.decoder(graph), self.held.graphs[graph].stored
        read = self.peaks.read
        return Amounts(
            read=(stored.get("int4", 0) + stored.get("float", 0)) / read,
            read_int8=stored.get("int8", 0) / read,
            cache=row_bytes(decoder, self.held) * self._read_rows(rows) / read,
            layers=decoder.layers,
        )

    def _read_rows(self, rows: float) -> float:
        """Returns the rows that attention reads, or moves (docs/attention.md)."""
        if self.flavour == "native":
            return self.capacity
        if self.flavour == "decomposed":
            length = SMALLEST_BUCKET
            while length < rows:
                length *= 2
            return MOVES * min(length, self.capacity)
        return rows

    def prefill(self, graph: str, rows: int) -> Amounts:
        """Returns the work of reading a prompt of so many rows."""
        decoder = self.decoder(graph)
        cost = workload.prefill(self.held, graph, decoder, rows)
        calls = -(-rows // PREFILL_ROWS)
        return self._products(graph, cost.operations, calls) + Amounts(
            layers=calls * decoder.layers
        )

    def audio(self, sounds: Sequence[int]) -> Amounts:
        """Returns the work of hearing sounds, given as mel frames."""
        cost = workload.audio_encoder(self.held, self.dims.audio, sounds)
        layers = Amounts(layers=self.dims.audio.layers)
        return self._products("audio_encoder", cost.operations, 1) + layers

    def vision(self, grids: Sequence[Sequence[int]]) -> Amounts:
        """Returns the work of seeing pictures and clips: (steps, height, width) in patches."""
        cost = workload.vision_encoder(self.held, self.dims.vision, grids)
        calls = sum(grid[0] for grid in grids)
        layers = Amounts(layers=calls * self.dims.vision.layers)
        return self._products("vision_encoder", cost.operations, calls) + layers

    def dit(self, frames: int, solver: Solver) -> Amounts:
        """Returns the work of solving the flow for so many mel frames at once."""
        cost = workload.dit(self.held, self.dims.dit, frames, solver)
        return self._flow(cost.operations, cost.passes)

    def evaluation(self, frames: int) -> Amounts:
        """Returns the work of one guided evaluation of the DiT."""
        guided = Solver("one step", "euler", (0, 27))
        cost = workload.dit(self.held, self.dims.dit, frames, guided)
        return self._flow(cost.operations, cost.passes)

    def _flow(self, operations: float, passes: int) -> Amounts:
        layers = Amounts(dit_layers=passes * self.dims.dit.layers)
        return self._products("dit_step", operations, passes) + layers

    def vocoder(self, frames: int) -> Amounts:
        """Returns the work of vocoding so many mel frames."""
        cost = workload.vocoder(self.held, self.dims.vocoder, frames)
        read = cost.bytes / self.peaks.read
        computed = cost.operations / self.peaks.plain
        return Amounts(plain=computed) if computed > read else Amounts(read=read)

    def _products(self, graph: str, operations: float, passes: int) -> Amounts:
        """Returns the work of products, or that of reading their weights if it takes longer."""
        weights = self.held.graphs[graph]
        total = sum(weights.multiplied.values())
        peaks: dict[Multiplied, float] = {
            "int8": self.peaks.int8, "fp8": self.peaks.fp8, "half": self.peaks.half,
            "narrow": self.peaks.int8 if self.peaks.is_cpu else self.peaks.half,
            "single": self.peaks.single,
        }  # fmt: skip
        parts = {
            kind: operations * count / total / peaks[kind]
            for kind, count in weights.multiplied.items()
        }
        if (read := passes * weights.bytes / self.peaks.read) > sum(parts.values()):
            return Amounts(read=read)
        if "fp8" in parts:
            parts["int8"] = parts.get("int8", 0.0) + parts.pop("fp8")
        return Amounts(**{str(kind): seconds for kind, seconds in parts.items()})


def row_bytes(decoder: DecoderDims, held: Held) -> int:
    """Returns the bytes of a row of a decoder's KV caches."""
    width = NUMPY_DTYPES[held.precision].itemsize
    return 2 * decoder.layers * decoder.kv_heads * decoder.head_dim * width
