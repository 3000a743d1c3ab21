"""Turns codec tokens into mel frames: the DiT's inputs and the guided velocity.

Every input but the noisy mel and the time is written into the graph's buffers once per solved
stretch. Source: `Qwen2_5OmniToken2WavDiTModel.sample` of transformers 4.57.6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from omnijet.runtime.backends.protocol import Bound, Graph
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.dims import DitDims
from omnijet.runtime.cancel import Check, never
from omnijet.runtime.model.finite import require_finite
from omnijet.runtime.speech.solver import EXACT, Evaluation, Solver
from omnijet.runtime.speech.solver import solve as solve_flow

GUIDANCE = np.float32(0.5)
CONDITIONED, UNCONDITIONED = 0, 1  # rows of the branch axis
UNCONDITIONED_CODE = 0

Report = Callable[[int, int], None]
"""Called with (evaluations done, evaluations in total)."""


@dataclass(frozen=True, slots=True)
class DitTables:
    """The tables that the export folded out of the graph.

    Source: `omnijet.export.weights.speech_tables`.
    """

    dims: DitDims
    codec: Array  # f32[codec rows, hidden]
    no_voice: Array  # f32[hidden]
    times: Array  # f32[points]
    modulation: Array  # f32[points, layers, 6, hidden]
    modulation_out: Array  # f32[points, 2, hidden]
    inv_freq: Array  # f32[head_dim / 2]

    @staticmethod
    def load(table: Callable[[str], Array], dims: DitDims) -> DitTables:
        """Loads the tables through a function that returns a table by name."""
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
        """Returns the input projection of codes and speaker: f32[2, frames, hidden].

        Codes that the codec table lacks are read as 0: the Talker can draw some, and the
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
    solver: Solver = EXACT,
) -> Array:
    """Solves the flow for a whole utterance.

    Args:
        graph: the graph `dit_step`.
        codes: i64[codes].
        voice: f32[hidden], the speaker's table.
        noise: f32[2 * codes or more, 80], the state at time 0.
        report: called with the evaluations done.
        solver: the method and its time points.

    Returns:
        f32[1, 80, 2 * codes], the natural-log mel.
    """
    total = len(solver.evaluations)
    done = 0

    def check() -> None:
        nonlocal done
        if done:
            report(done, total)
        done += 1

    stretch = Stretch(0, codes, noise[: codes.size * tables.dims.repeats])
    mel = solve(lambda **sizes: graph.bind(sizes), tables, voice, stretch, solver, check=check)
    report(total, total)
    return np.ascontiguousarray(mel.T)[None]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive mel frames that are solved together."""

    start: int  # absolute frame, a multiple of the block
    codes: Array  # i64[frames / 2]
    noise: Array  # f32[frames, 80]


@dataclass(slots=True)
class Past:
    """Keys and values of the last committed block, per evaluation: `past` of the contract.

    It is empty at the start of an utterance. A stretch that is solved with it continues from it
    and replaces it by the keys and values of its own block `commit`.
    """

    evaluations: list[Array] = field(default_factory=list)
    commit: int = 0


def solve(
    bind: Callable[..., Bound],
    tables: DitTables,
    voice: Array,
    stretch: Stretch,
    solver: Solver,
    past: Past | None = None,
    check: Check = never,
) -> Array:
    """Solves the flow for one stretch: f32[frames, 80].

    Args:
        bind: returns the buffers of `dit_step` for given sizes.
        past: keys and values of the block before the stretch; None: there is none, and none is
            kept.
        check: called before every evaluation; it may raise to cancel.

    Raises:
        NotFinite: the solution holds NaN or infinity.
    """
    frames = len(stretch.noise)
    blocks = -(-frames // tables.dims.block)
    continued = past is not None and bool(past.evaluations)
    kept: list[Array] = []
    bounds: dict[int, Bound] = {}
    for branches in {evaluation.branches for evaluation in solver.evaluations}:
        bound = bounds[branches] = bind(branches=branches, blocks=blocks)
        write_static(bound, tables, stretch.codes, voice, frames, stretch.start, continued)
        bound.inputs["commit"][0] = 0 if past is None else past.commit

    guide: Array | None = None

    def velocity(evaluation: Evaluation, state: Array) -> Array:
        nonlocal guide
        check()
        bound = bounds[evaluation.branches]
        if past is not None and continued:
            bound.inputs["past"][...] = past.evaluations[evaluation.index]
        branches = run_branches(bound, tables, evaluation.time, state)
        if past is not None:
            kept.append(bound.outputs["past_next"].copy())
        if evaluation.guided:
            guide = guidance(branches)
        elif not evaluation.held:
            guide = None
        conditioned = branches[CONDITIONED]
        alone: Array = conditioned.copy() if guide is None else conditioned + guide
        return alone

    with np.errstate(invalid="ignore", over="ignore"):  # told once, below
        mel = solve_flow(solver, velocity, stretch.noise)
    stop = stretch.start + frames
    require_finite(mel, "dit_step", "velocity", f"mel frames {stretch.start} to {stop}")
    if past is not None:
        past.evaluations = kept
    return mel


def write_static(
    bound: Bound,
    tables: DitTables,
    codes: Array,
    voice: Array,
    frames: int,
    start: int = 0,
    continued: bool = False,
) -> None:
    """Fills every input that stays the same through all evaluations.

    Args:
        start: absolute number of the first frame.
        continued: whether the first block sees the `past`.
    """
    inputs = bound.inputs
    branches, padded, _ = inputs["static"].shape
    inputs["static"][:, :frames] = tables.static(codes, voice)[:branches]
    # clears an earlier use: masked values still have to be finite
    inputs["static"][:, frames:] = 0
    inputs["x"][:, frames:] = 0
    inputs["cos"][...], inputs["sin"][...] = rotary_tables(tables.inv_freq, padded, start)
    for name, mask in block_masks(frames, tables.dims.block, continued).items():
        inputs[name][...] = mask


def rotary_tables(inv_freq: Array, frames: int, start: int = 0) -> tuple[Array, Array]:
    """Returns cos and sin f32[1, frames, len(inv_freq)] of frames start..start+frames-1.

    `inv_freq` comes from the checkpoint, because its values are rounded to bfloat16 and the
    formula does not reproduce them.
    """
    angles = np.arange(start, start + frames, dtype=np.float32)[:, None] * inv_freq.astype(
        np.float32
    )
    return np.cos(angles)[None], np.sin(angles)[None]


def block_masks(frames: int, block: int, continued: bool = False) -> dict[str, Array]:
    """Returns which keys each block may see, bool[blocks, 1, 1, keys] by input name.

    The keys are real frames of the block itself, of the previous block and itself, or of itself
    and the next block. With `continued` there are real frames before the first block.
    """
    blocks = -(-frames // block)
    real = (np.arange(blocks * block) < frames).reshape(blocks, block)
    before = np.concatenate([np.full((1, block), continued), real[:-1]])
    after = np.concatenate([real[1:], np.zeros((1, block), bool)])
    masks = {
        "mask_self": real,
        "mask_back": np.concatenate([before, real], axis=1),
        "mask_ahead": np.concatenate([real, after], axis=1),
    }
    return {name: mask[:, None, None] for name, mask in masks.items()}


def guidance(branches: Array) -> Array:
    """Returns what classifier-free guidance adds to the conditioned velocity."""
    added: Array = (branches[CONDITIONED] - branches[UNCONDITIONED]) * GUIDANCE
    return added


def run_branches(bound: Bound, tables: DitTables, time: np.float32, state: Array) -> Array:
    """Returns the velocities f32[branches, frames, 80], valid until the buffers run again."""
    point = int(np.searchsorted(tables.times, time))
    assert tables.times[point] == time, f"no AdaLN vectors for time {time}"
    bound.inputs["modulation"][...] = tables.modulation[point]
    bound.inputs["modulation_out"][...] = tables.modulation_out[point]
    frames = state.shape[0]
    bound.inputs["x"][0, :frames] = state
    bound.run()
    velocity: Array = bound.outputs["velocity"][:, :frames]
    return velocity
