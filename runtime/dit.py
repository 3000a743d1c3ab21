"""Codec tokens to mel: the DiT's inputs and the guided velocity.

Everything but the noisy mel and the time is written into the graph's buffers once per
utterance. Source: `Qwen2_5OmniToken2WavDiTModel.sample` of transformers 4.57.6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from runtime import solver
from runtime.backend import Bound, Graph
from runtime.contract import Array
from runtime.dims import DitDims
from runtime.rope import dit_cos_sin

GUIDANCE = np.float32(0.5)
CONDITIONED, UNCONDITIONED = 0, 1  # rows of the branch axis
UNCONDITIONED_CODE = 0

Report = Callable[[int, int], None]
"""Told (evaluations done, evaluations in all)."""


@dataclass(frozen=True, slots=True)
class DitTables:
    """What export folded out of the graph (`export.speech_tables`)."""

    dims: DitDims
    codec: Array  # f32[codec rows, hidden]
    no_voice: Array  # f32[hidden]
    times: Array  # f32[points]
    modulation: Array  # f32[points, layers, 6, hidden]
    modulation_out: Array  # f32[points, 2, hidden]
    inv_freq: Array  # f32[head_dim / 2]

    @staticmethod
    def load(table: Callable[[str], Array], dims: DitDims) -> DitTables:
        """Through a function that maps a table by name."""
        return DitTables(
            dims,
            codec=table("dit_codec"),
            no_voice=table("no_voice"),
            times=table("dit_times"),
            modulation=table("dit_modulation"),
            modulation_out=table("dit_modulation_out"),
            inv_freq=table("dit_inv_freq"),
        )

    def static(self, codes: Array, voice: Array) -> Array:
        """What the input projection makes of codes and speaker: f32[2, frames, hidden].

        Ids that the codec table lacks are read as 0: the Talker can draw some, and the
        reference would fail on them.
        """
        known = np.where(codes < len(self.codec), codes, 0)
        conditioned = np.repeat(self.codec[known], self.dims.repeats, axis=0) + voice
        unconditioned = np.broadcast_to(
            self.codec[UNCONDITIONED_CODE] + self.no_voice, conditioned.shape
        )
        return np.stack([conditioned, unconditioned])


def synthesize(
    graph: Graph,
    tables: DitTables,
    codes: Array,
    voice: Array,
    noise: Array,
    report: Report = lambda done, total: None,
) -> Array:
    """Solves the flow for a whole utterance.

    Args:
        graph: `dit_step`.
        codes: i64[codes].
        voice: f32[hidden], the speaker's table.
        noise: f32[at least 2 * codes, 80], the state at time 0.

    Returns:
        f32[1, 80, 2 * codes], natural-log mel.
    """
    dims = tables.dims
    frames = codes.size * dims.repeats
    blocks = -(-frames // dims.block)
    bound = graph.bind({"branches": 2, "blocks": blocks})
    write_static(bound, tables, codes, voice, frames)
    total = solver.EVALUATIONS_PER_STEP * (solver.POINTS - 1)
    done = 0

    def velocity(time: np.float32, state: Array) -> Array:
        nonlocal done
        guided = evaluate(bound, tables, time, state)
        done += 1
        report(done, total)
        return guided

    mel = solver.integrate(velocity, noise[:frames])
    return np.ascontiguousarray(mel.T)[None]


def write_static(bound: Bound, tables: DitTables, codes: Array, voice: Array, frames: int) -> None:
    """Fills every input that stays the same through all evaluations."""
    inputs = bound.inputs
    inputs["static"][:, :frames] = tables.static(codes, voice)
    padded = inputs["x"].shape[1]
    inputs["cos"][...], inputs["sin"][...] = dit_cos_sin(tables.inv_freq, padded)
    for name, mask in block_masks(frames, tables.dims.block).items():
        inputs[name][...] = mask


def block_masks(frames: int, block: int) -> dict[str, Array]:
    """Which keys each block may see, bool[blocks, 1, 1, keys]: real frames of itself, of
    the block before and itself, of itself and the block after."""
    blocks = -(-frames // block)
    real = (np.arange(blocks * block) < frames).reshape(blocks, block)
    none = np.zeros((1, block), bool)
    before = np.concatenate([none, real[:-1]])
    after = np.concatenate([real[1:], none])
    masks = {
        "mask_self": real,
        "mask_back": np.concatenate([before, real], axis=1),
        "mask_ahead": np.concatenate([real, after], axis=1),
    }
    return {name: mask[:, None, None] for name, mask in masks.items()}


def evaluate(bound: Bound, tables: DitTables, time: np.float32, state: Array) -> Array:
    """The guided velocity f32[frames, 80] at one of the tables' times."""
    point = int(np.searchsorted(tables.times, time))
    assert tables.times[point] == time, f"no AdaLN vectors for time {time}"
    bound.inputs["modulation"][...] = tables.modulation[point]
    bound.inputs["modulation_out"][...] = tables.modulation_out[point]
    frames = state.shape[0]
    bound.inputs["x"][0, :frames] = state
    bound.run()
    velocity = bound.outputs["velocity"][:, :frames]
    conditioned = velocity[CONDITIONED]
    guided: Array = conditioned + (conditioned - velocity[UNCONDITIONED]) * GUIDANCE
    return guided
