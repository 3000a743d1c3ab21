"""Fits what work costs beyond its peak rates to the measurements, by least squares.

Each measurement is a sum of amounts of work (`omnijet.deployment.planner.amounts`), each times an
unknown cost. The squares are those of relative errors, so that a step counts as much as a reply.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np

from omnijet.deployment.planner.amounts import KINDS, Amounts
from omnijet.deployment.planner.first_sound import until_first_sound, whole_reply
from omnijet.deployment.planner.measurements import (
    ON_CPU,
    ON_GPU,
    PUBLISHED_INT4,
    SLIM_CODES,
    SLIM_REPLY,
    Measured,
)
from omnijet.deployment.planner.model import Model
from omnijet.deployment.planner.published import PUBLISHED, published_dims
from omnijet.deployment.planner.weights import weights_of
from omnijet.deployment.planner.work import Machine
from omnijet.engines.targets.target import TARGETS
from omnijet.quantization.recipes import INT4_LONG, INT8_LONG, RECIPES, Recipe, Rule
from omnijet.runtime.speech.presets import speech_preset

INT8_TALKER = Recipe(
    "INT8 Talker", "as `tools.bench.made` makes it",
    tuple(Rule("talker_step", name, INT8_LONG) for name in ("decoder.layers.*", "head.weight")),
    "cpu",
)  # fmt: skip
EDGE_INT4 = Recipe(
    PUBLISHED_INT4, "INT4 AWQ as published: the head stays f16",
    (Rule("thinker_step", "decoder.layers.*", INT4_LONG),),
)  # fmt: skip
OTHERS = {recipe.name: recipe for recipe in (INT8_TALKER, EDGE_INT4)}
FITTED_ON_CPU = ("read", "read_int8", "cache", "layers", "narrow", "int8", "single", "plain")


@cache
def cpu_costs() -> Mapping[str, float]:
    """Returns the cost of each kind of work on a CPU, beyond the rates that it was measured at."""
    rows = [one for one in ON_CPU if not one.held_out]
    found = dict.fromkeys(KINDS, 0.0) | _solved(rows, FITTED_ON_CPU)
    return {**found, "half": found["single"]}


@cache
def gpu_costs() -> Mapping[str, float]:
    """Returns the cost of each kind of work on a GPU, beyond the peak rates of its data sheet.

    Steps and the DiT are those of an H100, whose kernels were launched by ONNX Runtime; products
    of many rows are those of a published prefill in TensorRT.
    """
    rows = [one for one in ON_GPU if not one.held_out]
    steps = [one for one in rows if one.work.endswith("step")]
    matrix = [
        (work.read + work.read_int8 + work.cache, work.layers) for work in map(work_of, steps)
    ]
    read, layer = np.linalg.solve(matrix, [one.seconds for one in steps]).tolist()
    found = {"read": read, "read_int8": read, "cache": read, "layers": layer}
    (prefill,) = (one for one in rows if one.work == "prefill")
    products = _left(prefill, found) / _products(work_of(prefill))
    found |= {"half": products, "narrow": products, "int8": products, "single": products}
    for name, kind in (("vocoder", "plain"), ("dit", "dit_layers")):
        (one,) = (one for one in rows if one.work == name)
        found[kind] = _left(one, found) / getattr(work_of(one), kind)
    return {kind: found[kind] for kind in KINDS}


def _left(one: Measured, costs: Mapping[str, float]) -> float:
    """Returns the seconds of a measurement that known costs leave over."""
    return one.seconds - work_of(one).seconds(dict.fromkeys(KINDS, 0.0) | dict(costs))


def _products(work: Amounts) -> float:
    return work.half + work.narrow + work.int8 + work.single


def _solved(rows: list[Measured], kinds: tuple[str, ...]) -> dict[str, float]:
    matrix = np.array([work_of(one).row(kinds) for one in rows])
    seconds = np.array([one.seconds for one in rows])
    costs, _, rank, _ = np.linalg.lstsq(matrix / seconds[:, None], np.ones(len(rows)), rcond=None)
    assert rank == len(kinds) and np.all(costs > 0), dict(zip(kinds, costs, strict=True))
    return dict(zip(kinds, costs.tolist(), strict=True))


def work_of(one: Measured) -> Amounts:
    """Returns the work of a measurement on the machine that it was measured on."""
    machine = _machine(one)
    match one.work:
        case "thinker step":
            return machine.step("thinker_step", one.size)
        case "talker step":
            return machine.step("talker_step", one.size)
        case "prefill":
            return machine.prefill("thinker_step", one.size)
        case "dit":
            return machine.evaluation(one.size)
        case "vocoder":
            return machine.vocoder(one.size)
        case "audio encoder":
            return machine.audio([one.size])
        case "first pcm":
            stages = until_first_sound(machine, speech_preset(one.preset), one.size)
            return sum((stage.work for stage in stages), Amounts())
        case "speech":
            preset = speech_preset(one.preset)
            return whole_reply(machine, preset, one.size, SLIM_REPLY, SLIM_CODES)


def _machine(one: Measured) -> Machine:
    dims = published_dims(one.model) if one.model in PUBLISHED else Model.named(one.model).dims
    target = TARGETS["cpu" if one.machine.is_cpu else "cuda"]
    recipe = {**RECIPES, **OTHERS}.get(one.recipe or "")
    held = weights_of(dims, "f16", recipe, target)
    return Machine(dims, held, one.machine, target.flavour, dims.thinker.max_positions)
