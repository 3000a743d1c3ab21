"""The time floor of each stage: its least cost at the measured rates of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from omnijet.runtime.bundle.dims import SpeechDims
from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.profiling import workload
from omnijet.runtime.profiling.measure import Result
from omnijet.runtime.profiling.rates import Rates
from omnijet.runtime.profiling.workload import Cost
from omnijet.runtime.speech.presets import speech_preset


@dataclass(frozen=True, slots=True)
class Floor:
    """The floor of one stage.

    Attributes:
        kind: what takes longer, to read the bytes or to compute the operations.
        amount: bytes or floating-point operations, per step for a stage with steps and
            otherwise for the whole stage.
        per_s: the measured rate of the machine.
    """

    kind: Literal["bytes", "operations"]
    amount: float
    per_s: float

    @staticmethod
    def of(least: Cost, rates: Rates) -> Floor:
        """Returns the larger floor: that of reading all bytes or of computing all operations."""
        read = Floor("bytes", least.passes * least.bytes, rates.read_per_s(least.bytes))
        computed = Floor("operations", least.operations, rates.matmul_per_s)
        return max(read, computed, key=lambda floor: floor.floor_us)

    @property
    def reason(self) -> str:
        """The origin of the floor, in words."""
        if self.kind == "bytes":
            return f"{self.amount / 1e6:.1f} MB at {self.per_s / 1e9:.1f} GB/s measured"
        return f"{self.amount / 1e9:.3g} GFLOP at {self.per_s / 1e9:.0f} GFLOP/s measured"

    @property
    def floor_us(self) -> float:
        """Microseconds per step, or for the whole stage."""
        return 1e6 * self.amount / self.per_s


def floors(manifest: Manifest, result: Result, rates: Rates, preset: str) -> dict[str, Floor]:
    """Returns the floors of a scenario's stages, without stages that have none."""
    dims, inputs, prompt = manifest.dims, result.inputs, result.prompt_tokens
    written = prompt + result.text_tokens / 2  # a step in the middle of the reply
    thinker = ("thinker_step", dims.thinker)
    least = {
        "audio_encoder": workload.audio_encoder(manifest, dims.audio, inputs.sounds),
        "vision_encoder": workload.vision_encoder(manifest, dims.vision, inputs.grids),
        "thinker_prefill": workload.prefill(manifest, *thinker, prompt),
        "thinker_decode": workload.decode_step(manifest, *thinker, written),
    }
    if dims.speech is not None:
        least |= _speech(manifest, dims.speech, result, preset)
    # a decoder may have done no step
    return {
        stage: Floor.of(least[stage], rates)
        for stage in least
        if stage in result.stages_ms and (not stage.endswith("_decode") or stage in result.steps)
    }


def _speech(manifest: Manifest, speech: SpeechDims, result: Result, preset: str) -> dict[str, Cost]:
    prompt = result.prompt_tokens + 2  # the Talker reads two more rows: voice and first text
    frames, talker = result.codes * speech.dit.repeats, ("talker_step", speech.talker)
    return {
        "talker_prefill": workload.prefill(manifest, *talker, prompt),
        "talker_decode": workload.decode_step(manifest, *talker, prompt + result.codes / 2),
        "dit": workload.dit(manifest, speech.dit, frames, speech_preset(preset).solver),
        "vocoder": workload.vocoder(manifest, speech.vocoder, frames),
    }


def stage_floor_ms(stage: str, result: Result, floors: Mapping[str, Floor]) -> float | None:
    """Returns the floor of all that a stage does in a run; None if it has no floor."""
    floor = floors.get(stage)
    if floor is None:
        return None
    if stage not in result.steps:
        return floor.floor_us / 1e3
    # the counts are sums over all runs
    steps = result.steps[stage].total_us.count / result.stages_ms[stage].count
    return steps * floor.floor_us / 1e3
