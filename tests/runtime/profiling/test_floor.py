"""The floor of a stage is the slower of reading and computing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from omnijet.runtime.omni import Omni
from omnijet.runtime.profiling.floor import Floor, floors, stage_floor_ms
from omnijet.runtime.profiling.inputs import Inputs
from omnijet.runtime.profiling.rates import Rates
from omnijet.runtime.profiling.workload import Cost
from tests.runtime.profiling.profiles import FLOORS, flat, result


class Fixed(Rates):
    """Rates of a machine that reads 10 GB/s from any working set."""

    def read_per_s(self, size: float) -> float:
        return 1e10


RATES = Fixed(1, 1e11)


def test_the_larger_of_reading_and_computing() -> None:
    read = Floor.of(Cost(1e6, 1e6, passes=3), RATES)
    assert (read.kind, read.amount, read.floor_us) == ("bytes", 3e6, pytest.approx(300))
    assert "3.0 MB at 10.0 GB/s" in read.reason
    computed = Floor.of(Cost(1e8, 1e6), RATES)
    assert (computed.kind, computed.floor_us) == ("operations", pytest.approx(1000))
    assert "0.1 GFLOP at 100 GFLOP/s" in computed.reason


def test_every_stage_of_the_model_has_a_floor(omni: Omni) -> None:
    stages = (
        "preprocess", "load", "audio_encoder", "vision_encoder", "thinker_prefill",
        "thinker_decode", "talker_prefill", "talker_decode", "dit", "vocoder",
    )  # fmt: skip
    step = result().steps["thinker_decode"]
    asked = replace(
        result(), inputs=Inputs((500,), ((1, 20, 30),)), prompt_tokens=400, codes=100,
        stages_ms=dict.fromkeys(stages, flat(1.0)),
        steps={"thinker_decode": step, "talker_decode": step},
    )  # fmt: skip
    found = floors(omni.bundle.manifest, asked, RATES, "exact")
    assert set(found) == set(stages) - {"preprocess", "load"}
    cheap = floors(omni.bundle.manifest, asked, RATES, "fast")
    assert cheap["dit"].floor_us < found["dit"].floor_us / 5
    longer = floors(omni.bundle.manifest, replace(asked, codes=200), RATES, "exact")
    assert longer["vocoder"].floor_us == pytest.approx(2 * found["vocoder"].floor_us)


def test_a_stage_that_did_not_run_has_none(omni: Omni) -> None:
    silent = replace(result(), stages_ms={"thinker_prefill": flat(1.0)}, steps={}, codes=0)
    assert set(floors(omni.bundle.manifest, silent, RATES, "exact")) == {"thinker_prefill"}


def test_floors_of_steps_add_up() -> None:
    outcome = replace(result(), stages_ms={"thinker_decode": flat(30.0, 2), "dit": flat(20.0)})
    # 5 steps over 2 runs, 100 µs each
    assert stage_floor_ms("thinker_decode", outcome, FLOORS) == pytest.approx(0.25)
    dit = {"dit": Floor("operations", 1e9, 1e11)}
    assert stage_floor_ms("dit", outcome, dit) == pytest.approx(10)
    assert stage_floor_ms("vocoder", outcome, dit) is None
