"""What fits and what does not, and that every number says what it is worth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from omnijet.deployment.planner.model import Model
from omnijet.deployment.planner.plan import Plan, plan_for
from omnijet.deployment.planner.weights import weights_of
from omnijet.engines.targets.target import TARGETS
from omnijet.quantization.recipes import RECIPES
from omnijet.quantization.schemes import both
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.speech.presets import PRESETS, speech_preset

BALANCED = speech_preset("balanced")
ENGINES_GB = {
    # graph -> floats and, where it was built, INT4 decoders; engines of TensorRT-RTX 1.7.1 at 3B,
    # from BENCHMARKS.md
    None: {"audio_encoder": 1.31, "vision_encoder": 1.37, "thinker_step": 6.19,
           "talker_step": 0.75, "dit_step": 0.76, "vocoder": 0.47},
    "orin-int4": {"audio_encoder": 1.31, "vision_encoder": 1.37, "thinker_step": 1.77,
                  "talker_step": 0.23, "dit_step": 0.76, "vocoder": 0.47},
}  # fmt: skip


def planned(
    model: str, target: str, recipe: str | None, context: int | None = None, preset: str = "exact"
) -> Plan:
    chosen = None if recipe is None else RECIPES[recipe]
    return plan_for(
        Model.named(model).dims, TARGETS[target], chosen, context, speech_preset(preset)
    )


@pytest.mark.parametrize("recipe", ENGINES_GB)
def test_weights_are_as_large_as_engines_were(recipe: str | None) -> None:
    chosen = None if recipe is None else RECIPES[recipe]
    held = weights_of(Model.named("3b").dims, "f16", chosen, TARGETS["rtx-ampere"])
    for graph, size in ENGINES_GB[recipe].items():
        assert held.graphs[graph].bytes / 1e9 == pytest.approx(size, rel=0.13), graph
    total = sum(ENGINES_GB[recipe].values())
    assert held.bytes / 1e9 == pytest.approx(total, rel=0.03)


def test_memory_of_this_cpu() -> None:
    """BENCHMARKS.md: 5.75 GB at the peak of a spoken reply with 3,991 rows, 0.40 of it caches."""
    memory = planned("3b", "cpu", "cpu-int4", 3991).memory
    assert memory.needed / 1e9 == pytest.approx(5.75, rel=0.1)
    assert memory.running["KV caches"] / 1e9 == pytest.approx(0.40, rel=0.05)


def test_floats_do_not_fit_a_small_device_and_it_says_why() -> None:
    plan = planned("3b", "orin-nano-jp72", None)
    assert not plan.fits
    assert "6.5 GB that are usable" in plan.faults[0]
    assert planned("3b", "agx-orin-64-jp72", None).fits


def test_a_target_without_the_numbers_says_which() -> None:
    plan = planned("3b", "orin-nx-jp72", "ada-fp8")
    assert not plan.fits and "has no fp8" in plan.faults[0]
    plan = planned("3b", "orin-nx-jp72", "cpu-int4")
    assert not plan.fits and "ONNX Runtime on a processor" in plan.faults[0]


def test_a_smaller_context_takes_less_memory_and_hears_less() -> None:
    small, large = (planned("3b", "orin-nx-jp72", "orin-int4", rows) for rows in (2048, 8192))
    assert small.memory.needed < large.memory.needed
    assert 4 * small.limits["sound"].value == pytest.approx(large.limits["sound"].value, abs=3)
    # an engine that updates its caches in place reads all of them at every step
    assert small.speeds["decode"].value > large.speeds["decode"].value


def test_presets_trade_time_until_the_first_sound() -> None:
    waits = [
        planned("3b", "agx-orin-64-jp72", "orin-int4", preset=name).first_pcm_s or 0.0
        for name in ("fast", "balanced", "exact", "reference")
    ]
    assert waits == sorted(waits) and 2 * waits[0] < waits[-1]


def test_blocks_of_int8_become_floats_where_no_library_has_them() -> None:
    dims = Model.named("3b").dims
    with_blocks, without = (
        weights_of(dims, "f16", RECIPES["orin-int4"], TARGETS[name])
        for name in ("rtx-ampere", "orin-nano-jp72")
    )
    head = dims.thinker.hidden * dims.thinker.vocab
    grown = without.graphs["thinker_step"].bytes - with_blocks.graphs["thinker_step"].bytes
    assert grown == pytest.approx(head * (2 - 1 - 2 / 64), rel=1e-6)


def test_a_model_without_a_voice() -> None:
    config = Model.named("3b").dims
    from dataclasses import replace

    plan = plan_for(
        replace(config, speech=None),
        TARGETS["orin-nano-jp72"],
        RECIPES["orin-int4"],
        None,
        BALANCED,
    )
    assert plan.first_pcm_s is None and "talker" not in plan.speeds
    assert "vocoder" not in plan.disk


def test_a_context_beyond_the_model_is_refused() -> None:
    with pytest.raises(OmnijetError, match="32,768"):
        planned("3b", "cpu", None, 40_000)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("model", ["3b", "7b"])
def test_every_number_says_what_it_is_worth(model: str, target: str) -> None:
    data = planned(model, target, None).to_json()
    assert json.loads(json.dumps(data)) == data
    loose = [path for path, value in leaves(data) if isinstance(value, float)]
    assert all(path.endswith(".value") for path in loose), loose
    assert data["fits"] is (not data["faults"])


def leaves(data: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(data, dict):
        if "is" in data:
            assert data["is"] in ("predicted", "measured", "published", "estimated")
        for key, value in data.items():
            yield from leaves(value, f"{path}.{key}")
    elif isinstance(data, list):
        for value in data:
            yield from leaves(value, path)
    else:
        yield path, data


def test_every_recipe_has_a_plan_on_every_target() -> None:
    for target in TARGETS:
        for recipe in (None, *RECIPES):
            plan = planned("3b", target, recipe)
            assert plan.fits or all(plan.faults), (target, recipe)
            assert plan.disk["thinker_step"].value > 1e9


def test_8_bits_are_faster_than_16_where_arithmetic_decides() -> None:
    floats, int8 = (planned("3b", "agx-orin-64-jp72", name) for name in (None, "orin-int8"))
    assert int8.speeds["prefill"].value > 1.3 * floats.speeds["prefill"].value
    assert both("int8").needs == {"int8"}


def test_all_presets_are_planned() -> None:
    for name in PRESETS:
        assert planned("3b", "thor-jp72", "thor-fp8", preset=name).preset == name
