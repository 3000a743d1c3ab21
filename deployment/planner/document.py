"""Writes the page "what fits where" from the planner (`python -m tools.what_fits`)."""

from __future__ import annotations

from omnijet.deployment.planner.fit import EDGE_INT4, cpu_costs, gpu_costs, work_of
from omnijet.deployment.planner.measurements import ON_CPU
from omnijet.deployment.planner.model import Model
from omnijet.deployment.planner.peaks import peaks_of
from omnijet.deployment.planner.plan import FLOATS, Plan, plan_for
from omnijet.deployment.planner.published import EDGE_LLM, Decoded, published_dims
from omnijet.deployment.planner.weights import weights_of
from omnijet.deployment.planner.work import Machine
from omnijet.engines.targets.target import TARGETS, Target
from omnijet.quantization.recipes import RECIPES, Recipe, recommended
from omnijet.runtime.profiling.svg import short
from omnijet.runtime.speech.presets import speech_preset

MODELS = {"3b": "Qwen2.5-Omni-3B", "7b": "Qwen2.5-Omni-7B"}
PRESET = "balanced"
HEAD = """\
# What fits where

Written by `python -m tools.what_fits` from the planner; `omnijet plan` says the same of your own
machine, model and options, with all parts of the memory and of the wait, and needs no weights:

```
omnijet plan 3b --target orin-nano-jp72
omnijet plan 7b --target auto --fit
omnijet plan my-bundle --target agx-orin-64-jp62 --recipe orin --context 8192 --plot plan.svg
```

`--fit` ranks recipes, contexts and presets by the wait for the first sound at the `--fidelity`
asked for, and prints the commands that make the best.

**Every figure of the next two tables is predicted.** No Jetson and, but for an H100, no GPU has
run these models here.
"""
LEGEND = """\
A cell says how much memory running takes and how long an answer to a spoken question of 5 s waits
for its first sound (preset `balanced`, the target's own limits). **Bold** is the recipe that
`omnijet quantize --target T` takes.

* `12.1 > 6.5 GB`: running takes more than is usable. The system is thought to keep 1.5 GB of a
  board and 0.5 GB of a card.
* `build 8.8 > 6.5 GB`: it would run, but TensorRT builds on the device, and building takes more
  than is usable.
* `(build)`: it runs; building takes between what TensorRT-RTX was measured to take and the four
  times the weights that were published for TensorRT, and the latter is more than is usable. Add
  swap on a disk.
* `no fp8`: the GPU has no such products. `CPU`: the recipe's graphs are for ONNX Runtime on a
  processor.
* No wait is given where nothing is known of the machine's speed; `cpu` is the machine of
  BENCHMARKS.md (two cores).
* INT8 weights in blocks (heads, and the second product of each MLP in the 8-bit recipes) become
  floats in TensorRT, which has no such blocks: engines of JetPack are larger than those of
  TensorRT-RTX.
* Smaller limits make room: `--context N` and `--cells N` of `omnijet plan` become `--limit
  capacity=N` and `--limit cells=N` of `omnijet build`. On JetPack 6.2 attention may store its
  scores, so that the 3B fits an Orin Nano 8 GB with `--limit cells=256` (pictures of 448 x 448)
  alone.
"""
BASIS = """\
## How good the predictions are

A prediction counts what must be read and multiplied, and divides by the peak rates of the
machine, times an efficiency. The efficiencies are fitted to some of the figures below
(`deployment/planner/measurements.py` has them with their sources); those that are held out took
no part. The test suite fails if one of them is off by more than a fifth.

| this CPU, work | measured | predicted | off by | |
|---|---|---|---|---|
"""
OTHERS = """
The efficiencies of a GPU are those of an H100 (f16, ONNX Runtime: a step reads at 95 % of the
peak, and each layer costs 0.1 ms), and those of a published prefill on an AGX Orin (42 % of the
peak). With them the model decodes what NVIDIA published for TensorRT-Edge-LLM 0.9 (INT4 AWQ, one
sequence) as follows; no fit saw these figures.

| decoding, tokens/s | published | predicted | off by |
|---|---|---|---|
"""
LAST = """
The same page has 37.4 tokens/s for the 1.7B on an Orin Nano 8 GB, where 58 are predicted at the
102 GB/s of its Super mode and 40 at 68 GB/s: believe the lower figure until you have measured.
Nothing is known of how fast TensorRT runs DiT and vocoder on a Jetson; their predictions rest on
the H100.
"""


def what_fits() -> str:
    """Returns the page."""
    parts = [HEAD, LEGEND]
    parts += [_matrix(name, title) for name, title in MODELS.items()]
    rows = [BASIS.rstrip("\n")]
    for one in ON_CPU:
        seconds = work_of(one).seconds(cpu_costs())
        rows.append(
            f"| {one.title} | {_time(one.seconds)} | {_time(seconds)} | "
            f"{seconds / one.seconds - 1:+.0%} | {'held out' if one.held_out else 'fitted'} |"
        )
    rows.append(OTHERS.rstrip("\n"))
    for decoded in EDGE_LLM:
        rate = decoding(decoded)
        rows.append(
            f"| {decoded.model}, {TARGETS[decoded.target].device.title} | {decoded.tokens_per_s:g} "
            f"| {rate:.1f} | {rate / decoded.tokens_per_s - 1:+.0%} |"
        )
    return "\n".join([*parts, "\n".join(rows), LAST])


def decoding(one: Decoded) -> float:
    """Returns the tokens a second that are predicted for a published figure."""
    target, dims = TARGETS[one.target], published_dims(one.model)
    peaks = peaks_of(target)
    assert peaks is not None
    held = weights_of(dims, "f16", EDGE_INT4, target)
    # its plugin reads the filled rows
    machine = Machine(dims, held, peaks, "fused-cuda", 4096)
    return 1 / machine.step("thinker_step", 512).seconds(gpu_costs())


def _matrix(name: str, title: str) -> str:
    recipes: list[Recipe | None] = [None, *RECIPES.values()]
    names = [FLOATS if recipe is None else f"`{recipe.name}`" for recipe in recipes]
    lines = [f"## {title}", "", f"| target | usable | {' | '.join(names)} |"]
    lines.append("|---|---|" + "---|" * len(recipes))
    dims = Model.named(name).dims
    for target in TARGETS.values():
        plans = [plan_for(dims, target, one, None, speech_preset(PRESET)) for one in recipes]
        usable = plans[0].memory.usable
        room = "" if usable is None else f"{usable / 1e9:.1f} GB"
        cells = [_cell(plan, target) for plan in plans]
        lines.append(f"| `{target.name}` | {room} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _cell(plan: Plan, target: Target) -> str:
    recipe = RECIPES.get(plan.recipe)
    if recipe is not None and not recipe.runs_on(target):
        missing = sorted(recipe.needs - target.numbers)
        return f"no {missing[0]}" if missing else "CPU"
    memory, usable = plan.memory, plan.memory.usable
    if usable is not None and memory.needed > usable:
        return f"{memory.needed / 1e9:.1f} > {usable / 1e9:.1f} GB"
    if not plan.fits and usable is not None:
        return f"build {memory.build_least / 1e9:.1f} > {usable / 1e9:.1f} GB"
    wait = "" if plan.first_pcm_s is None else f", {short(plan.first_pcm_s)} s"
    said = f"{memory.needed / 1e9:.1f} GB{wait}"
    if any(warning.startswith("building") for warning in plan.warnings):
        said += " (build)"
    return f"**{said}**" if recommended(target).name == plan.recipe else said


def _time(seconds: float) -> str:
    return f"{short(seconds)} s" if seconds >= 0.1 else f"{short(1e3 * seconds)} ms"
