"""Predictions beside what was measured and what others published; the fit saw none of these.

The efficiencies are fitted to other rows of the same tables (`measurements`).
"""

from __future__ import annotations

import pytest

from omnijet.deployment.planner.fit import EDGE_INT4, cpu_costs, gpu_costs, work_of
from omnijet.deployment.planner.measurements import ON_CPU, ON_GPU, Measured
from omnijet.deployment.planner.model import Model
from omnijet.deployment.planner.peaks import peaks_of
from omnijet.deployment.planner.published import (
    EDGE_LLM,
    PHONES,
    Decoded,
    Phone,
    published_dims,
)
from omnijet.deployment.planner.weights import weights_of
from omnijet.deployment.planner.work import Machine
from omnijet.engines.targets.target import TARGETS
from omnijet.quantization.recipes import INT4, Recipe, Rule

HELD_OUT = [one for one in ON_CPU if one.held_out]


def test_each_kind_of_work_is_tried_on_figures_that_no_fit_saw() -> None:
    """A Talker was measured in two forms alone, and both are needed for the fit."""
    works = {"thinker step", "prefill", "dit", "vocoder", "first pcm", "audio encoder"}
    assert {one.work for one in HELD_OUT} == works
    assert len(HELD_OUT) > 8


@pytest.mark.parametrize("one", HELD_OUT, ids=lambda one: one.title)
def test_this_cpu_within_a_fifth(one: Measured) -> None:
    assert work_of(one).seconds(cpu_costs()) == pytest.approx(one.seconds, rel=0.2)


@pytest.mark.parametrize(
    "one", [one for one in ON_CPU if not one.held_out], ids=lambda one: one.title
)
def test_the_fit_describes_what_it_saw(one: Measured) -> None:
    assert work_of(one).seconds(cpu_costs()) == pytest.approx(one.seconds, rel=0.2)


@pytest.mark.parametrize("one", EDGE_LLM, ids=lambda one: f"{one.model} {one.target}")
def test_published_int4_decoding_within_a_quarter(one: Decoded) -> None:
    """The costs come from an H100 in f16; the peaks from the data sheets of the devices."""
    target, dims = TARGETS[one.target], published_dims(one.model)
    peaks = peaks_of(target)
    assert peaks is not None
    held = weights_of(dims, "f16", EDGE_INT4, target)
    # its plugin reads the filled rows
    machine = Machine(dims, held, peaks, "fused-cuda", 4096)
    rate = 1 / machine.step("thinker_step", 512).seconds(gpu_costs())
    assert rate == pytest.approx(one.tokens_per_s, rel=0.25)


def test_all_devices_and_sizes_are_tried() -> None:
    devices = {one.target.rpartition("-")[0] for one in EDGE_LLM}
    assert devices == {"orin-nx", "agx-orin-64", "thor"}
    for device in devices:
        models = {one.model for one in EDGE_LLM if one.target.startswith(device)}
        assert models >= {"qwen3-4b", "qwen3-8b"}


@pytest.mark.parametrize("one", PHONES, ids=lambda one: one.name)
def test_phones_decode_at_the_pace_of_the_bytes(one: Phone) -> None:
    """The share of the bandwidth that the 3B reaches predicts the 7B, and is a plausible one."""
    rules = [Rule("thinker_step", name, INT4) for name in ("decoder.layers.*", "head.weight")]
    recipe = Recipe("MNN", "4 bits in blocks of 64", tuple(rules))
    size = {}
    for name in ("3b", "7b"):
        held = weights_of(Model.named(name).dims, "f16", recipe, TARGETS["cuda"])
        size[name] = held.graphs["thinker_step"].bytes
    assert 0.4 < one.small * size["3b"] / (1e9 * one.gb_s) < 0.9
    assert one.small * size["3b"] / size["7b"] == pytest.approx(one.large, rel=0.25)


@pytest.mark.parametrize("one", [one for one in ON_GPU if one.held_out], ids=lambda one: one.title)
def test_a_published_prefill_that_no_fit_saw(one: Measured) -> None:
    assert work_of(one).seconds(gpu_costs()) == pytest.approx(one.seconds, rel=0.2)


def test_a_wrong_cost_is_noticed() -> None:
    """The checks above fail where decoding is thought to be half as fast."""
    slow = {**cpu_costs(), "read": 2 * cpu_costs()["read"]}
    step = next(one for one in HELD_OUT if one.work == "thinker step")
    assert work_of(step).seconds(slow) > 1.5 * step.seconds
