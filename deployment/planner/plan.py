"""What a model under a recipe does on a target: whether it fits, and how fast it will be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from omnijet.deployment.planner.amounts import Amounts
from omnijet.deployment.planner.figure import Figure
from omnijet.deployment.planner.first_sound import (
    FRAMES_PER_S,
    TEXT_PER_S,
    question_rows,
    until_first_sound,
    whole_reply,
)
from omnijet.deployment.planner.fit import cpu_costs, gpu_costs
from omnijet.deployment.planner.memory import Memory, memory_of
from omnijet.deployment.planner.peaks import BENCHED, Peaks, peaks_of
from omnijet.deployment.planner.sizes import PICTURE_CELLS, Sizes
from omnijet.deployment.planner.weights import Held, table_bytes, weights_of
from omnijet.deployment.planner.work import Machine
from omnijet.engines.targets.target import Target
from omnijet.quantization.recipes import Recipe
from omnijet.runtime.bundle.contract import Precision
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.speech.presets import SpeechPreset

QUESTION_S = 5.0
USUAL_ROWS = 512
"""Rows of the cache that a step's speed is told for."""
CODES_PER_S = 50
LONG_S = 20
"""Seconds of the reply whose real-time factor is told."""
FLOATS = "floats"
"""The name of no recipe."""
CAUTIONS = {
    "orin-nano": "speeds are those of the Super mode (102 GB/s): at 68 GB/s, in the 15 W mode, all "
    "takes half as long again, and a published INT4 1.7B decodes at 37 tokens/s as if there",
}
"""Device -> what its owner should know. Source: NVIDIA, Orin Nano with and without Super mode, and
the performance page of TensorRT-Edge-LLM 0.9."""
UNKNOWN_SPEED = "nothing is known of this machine's speed"


@dataclass(frozen=True, slots=True)
class Plan:
    """A model under a recipe on a target.

    Attributes:
        recipe: its name; `floats` without one.
        context: rows of the KV caches.
        preset: how speech is made.
        faults: why it will not work, in words; empty: it will.
        warnings: what may go wrong.
        speeds: by name; empty if nothing is known of the machine's speed.
        waits: seconds until the first sound of an answer to a spoken question, by stage.
        limits: what the sizes mean for a user.
        disk: bytes of each engine or graph, and of tables.
        basis: where the machine's rates come from.
    """

    target: str
    recipe: str
    precision: Precision
    context: int
    preset: str
    faults: tuple[str, ...]
    warnings: tuple[str, ...]
    memory: Memory
    disk: Mapping[str, Figure]
    speeds: Mapping[str, Figure]
    waits: Mapping[str, Figure]
    limits: Mapping[str, Figure]
    basis: str

    @property
    def fits(self) -> bool:
        """Whether nothing is known that keeps it from running."""
        return not self.faults

    @property
    def first_pcm_s(self) -> float | None:
        """Seconds from the end of a spoken question to the first sound of the answer."""
        return sum(one.value for one in self.waits.values()) if self.waits else None

    def to_json(self) -> dict[str, Any]:
        """Returns plain dicts, lists and numbers; each number says what it is worth."""
        memory = self.memory
        return {
            "target": self.target, "recipe": self.recipe, "precision": self.precision,
            "context": self.context, "preset": self.preset, "fits": self.fits,
            "faults": list(self.faults), "warnings": list(self.warnings),
            "running_bytes": {name: _predicted(n) for name, n in memory.running.items()},
            "needed_bytes": _predicted(memory.needed),
            "device_bytes": None if memory.device is None
            else Figure(memory.device, "bytes", "published").to_json(),
            "system_bytes": Figure(memory.system, "bytes", "estimated").to_json(),
            "building_bytes": {
                name: {"least": _predicted(least), "likely": _predicted(likely)}
                for name, (least, likely) in memory.building.items()
            },
            "builds_on_the_device": memory.builds_here,
            "disk_bytes": {name: one.to_json() for name, one in self.disk.items()},
            "speeds": {name: one.to_json() for name, one in self.speeds.items()},
            "first_pcm": {name: one.to_json() for name, one in self.waits.items()},
            "first_pcm_s": None if self.first_pcm_s is None
            else Figure(self.first_pcm_s, "s").to_json(),
            "limits": {name: one.to_json() for name, one in self.limits.items()},
            "basis": self.basis,
        }  # fmt: skip


def _predicted(count: int) -> dict[str, Any]:
    return Figure(count, "bytes").to_json()


def plan_for(
    dims: ModelDims,
    target: Target,
    recipe: Recipe | None,
    context: int | None,
    preset: SpeechPreset,
    *,
    precision: Precision = "f16",
    cpu: Peaks = BENCHED,
    cells: int | None = None,
) -> Plan:
    """Plans a model on a target; reads no file and needs no weight.

    Args:
        recipe: None: all weights stay floats.
        context: rows of the KV caches; None: what the target's limits allow.
        precision: of the float bundle.
        cpu: rates of the processor, where one computes.
        cells: cells of the largest picture, each of 28 x 28 pixels; None: as the target's limits.

    Raises:
        OmnijetError: a rule of the recipe matches no layer of the model, or the context is beyond
            the positions that the model knows.
    """
    sizes = Sizes.of(dims, target, context, cells)
    held = weights_of(dims, precision, recipe, target)
    memory = memory_of(dims, held, target, sizes)
    peaks = peaks_of(target, cpu)
    speeds: dict[str, Figure] = {}
    waits: dict[str, Figure] = {}
    if peaks is not None:
        machine = Machine(dims, held, peaks, target.flavour, sizes.capacity)
        costs = cpu_costs() if peaks.is_cpu else gpu_costs()
        speeds, waits = _speeds(machine, costs, preset), _waits(machine, costs, preset)
    faults, warnings = _verdict(memory, target, recipe)
    if target.device.name in CAUTIONS:
        warnings.append(CAUTIONS[target.device.name])
    realtime = speeds.get("real-time factor")
    if realtime is not None and realtime.value > 1:
        warnings.append(f"speech comes {realtime.value:.1f} times slower than it is spoken")
    return Plan(
        target.name, FLOATS if recipe is None else recipe.name, held.precision, sizes.capacity,
        preset.name, tuple(faults), tuple(warnings), memory, _disk(dims, held), speeds, waits,
        _limits(sizes), UNKNOWN_SPEED if peaks is None else peaks.source,
    )  # fmt: skip


def _speeds(
    machine: Machine, costs: Mapping[str, float], preset: SpeechPreset
) -> dict[str, Figure]:
    def seconds(work: Amounts) -> float:
        return work.seconds(costs)

    rows = min(USUAL_ROWS, machine.capacity)
    side = round(4 * PICTURE_CELLS) ** 0.5
    grid = (1, int(side), int(side))
    frames = round(QUESTION_S * FRAMES_PER_S)
    found = {
        "decode": Figure(1 / seconds(machine.step("thinker_step", rows)), "tokens/s"),
        "prefill": Figure(rows / seconds(machine.prefill("thinker_step", rows)), "tokens/s"),
        "hearing": Figure(QUESTION_S / seconds(machine.audio([frames])), "s of sound/s"),
        "seeing": Figure(1 / seconds(machine.vision([grid])), "pictures of 448 x 448/s"),
    }
    if not machine.dims.has_voice:
        return found
    codes, text = LONG_S * CODES_PER_S, LONG_S * TEXT_PER_S
    asked = question_rows(machine, QUESTION_S)
    whole = seconds(whole_reply(machine, preset, asked, text, codes))
    return found | {
        "talker": Figure(1 / seconds(machine.step("talker_step", rows)), "codes/s"),
        "real-time factor": Figure(whole / LONG_S, "s/s"),
    }


def _waits(machine: Machine, costs: Mapping[str, float], preset: SpeechPreset) -> dict[str, Figure]:
    if not machine.dims.has_voice:
        return {}
    rows = question_rows(machine, QUESTION_S)
    stages = until_first_sound(machine, preset, rows, QUESTION_S)
    return {stage.name: Figure(stage.work.seconds(costs), "s") for stage in stages}


def _verdict(memory: Memory, target: Target, recipe: Recipe | None) -> tuple[list[str], list[str]]:
    faults: list[str] = []
    warnings: list[str] = []
    if recipe is not None and not recipe.runs_on(target):
        missing = sorted(recipe.needs - target.numbers)
        faults.append(
            f"{target.device.title} has no {', '.join(missing)}" if missing
            else f"recipe {recipe.name} makes graphs for ONNX Runtime on a processor"
        )  # fmt: skip
    usable = memory.usable
    if usable is None:
        return faults, warnings
    if memory.needed > usable:
        faults.append(f"running takes {_gb(memory.needed)} of {_gb(usable)} that are usable")
    if memory.builds_here and target.library == "tensorrt":
        if memory.build_least > usable:
            faults.append(
                f"building takes {_gb(memory.build_least)} at least, of {_gb(usable)} usable"
            )
        elif memory.build_likely > usable:
            warnings.append(
                f"building takes {_gb(memory.build_least)} to {_gb(memory.build_likely)} of "
                f"{_gb(usable)} that are usable: swap on a disk may be needed"
            )
    return faults, warnings


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB"


def _disk(dims: ModelDims, held: Held) -> dict[str, Figure]:
    sizes = {graph: weights.bytes for graph, weights in held.graphs.items()}
    sizes["tables"] = sum(table_bytes(dims, held.precision).values())
    return {name: Figure(size, "bytes") for name, size in sizes.items()}


def _limits(sizes: Sizes) -> dict[str, Figure]:
    return {
        "sound": Figure(round(sizes.sound_s), "s"),
        "pictures of 448 x 448": Figure(sizes.pictures, ""),
        "clip with sound": Figure(round(sizes.clip_s), "s"),
        "largest square picture": Figure(sizes.picture_side, "pixels"),
    }


def with_files(plan: Plan, manifest: Manifest) -> Plan:
    """Returns the plan with the sizes of the engines that a bundle has for its target."""
    engines = manifest.engines.get(plan.target, {})
    built = {name: Figure(one.bytes, "bytes", "measured") for name, one in engines.items()}
    return replace(plan, disk={**plan.disk, **built})
