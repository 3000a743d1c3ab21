"""Pieces of a layer: together they are what the whole layer becomes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from omnijet.quantization import memory, rounding_job
from omnijet.quantization.layers import Layer
from omnijet.quantization.memory import needed_bytes, worker_count
from omnijet.quantization.numerics.apply import OUTPUTS, change_of, snr_db, snr_of
from omnijet.quantization.numerics.statistics import Statistics
from omnijet.quantization.rounding_job import jobs_of, round_job
from omnijet.quantization.schemes import Scheme, WeightScheme, both
from omnijet.quantization.weight_source import WeightSource
from omnijet.quantization.weights import Change
from omnijet.runtime.errors import OmnijetError

INPUTS, WIDE = 64, 2 * OUTPUTS + 100
WIDE_LAYER = Layer("thinker_step", "head.weight", "hidden", INPUTS, WIDE, "f16")
SCHEMES = {
    "int8 blocks": Scheme(WeightScheme("int8", 64)),
    "int4 zero points": Scheme(WeightScheme("int4", 32, symmetric=False)),
    "int8 channels": both("int8"),
    "fp8 channels": both("fp8"),
}


def weights(outputs: int = WIDE) -> np.ndarray[tuple[int, int], np.dtype[np.float16]]:
    random = np.random.default_rng(1)
    return (random.standard_t(4, (INPUTS, outputs)) * 0.02).astype(np.float16)


def stored(folder: Path) -> WeightSource:
    """A weight in a file, behind other bytes."""
    path = folder / "w"
    path.write_bytes(bytes(4096) + weights().tobytes())
    return WeightSource(str(path), 4096, "f16", INPUTS, WIDE)


def statistics() -> Statistics:
    found = Statistics(INPUTS, 0)
    found.update(np.random.default_rng(2).standard_normal((300, INPUTS)).astype(np.float32))
    return found


@pytest.mark.parametrize("name", SCHEMES)
def test_parts_of_a_layer_are_the_layer(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounding_job, "BAND", INPUTS * OUTPUTS)
    scheme, stats = SCHEMES[name], statistics()
    jobs = list(jobs_of([WIDE_LAYER], [stored(tmp_path)], scheme, stats))
    assert [job.columns for job in jobs] == [
        slice(0, OUTPUTS), slice(OUTPUTS, 2 * OUTPUTS), slice(2 * OUTPUTS, WIDE)
    ]  # fmt: skip
    parts = [rounded for job in jobs for rounded in round_job(job)]
    found = Change.joined([part.change for part in parts])
    whole = weights().astype(np.float32)
    wanted = change_of(whole, scheme, stats, None, "f16")
    assert found.weight.values.tobytes() == wanted.weight.values.tobytes()
    assert found.weight.scales.tobytes() == wanted.weight.scales.tobytes()
    assert (found.weight.zeros is None) == (wanted.weight.zeros is None)
    if found.weight.zeros is not None and wanted.weight.zeros is not None:
        assert found.weight.zeros.tobytes() == wanted.weight.zeros.tobytes()
    assert found.activation == wanted.activation and found.divisor is None
    losses = [loss for part in parts for loss in part.losses]
    assert snr_of(losses) == snr_db(whole, wanted, stats.sample) and snr_of(losses) > 15


def test_layers_with_a_common_divisor_are_one_job(tmp_path: Path) -> None:
    moved, scaled = both("int8", migration=0.5), Scheme(WeightScheme("int4", 64, scaling=True))
    layers, sources = [WIDE_LAYER, WIDE_LAYER], [stored(tmp_path)] * 2
    for scheme in (moved, scaled):
        (job,) = jobs_of(layers, sources, scheme, statistics())
        assert len(round_job(job)) == 2
    # without a calibration nothing is divided
    assert len(list(jobs_of(layers, sources, Scheme(WeightScheme("int4", 64)), None))) == 2


def test_a_weight_file_that_is_cut_short_is_an_error(tmp_path: Path) -> None:
    source = stored(tmp_path)
    assert source.read(slice(5, 9)).tolist() == weights()[:, 5:9].astype(np.float32).tolist()
    (tmp_path / "w").write_bytes(bytes(5000))
    for columns in (slice(None), slice(0, 10)):
        with pytest.raises(OmnijetError, match="ends before") as caught:
            source.read(columns)
        assert "5000 bytes" in str(caught.value.got)
    (tmp_path / "w").unlink()
    with pytest.raises(OmnijetError, match="cannot be read"):
        source.read()


def test_processes_fit_into_the_memory_that_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    head = Layer("thinker_step", "head.weight", "hidden", 3584, 152_064, "f16")
    wide = Layer("thinker_step", "gate_up.weight", "normed", 3584, 37_888, "f16")
    plan = {head: Scheme(WeightScheme("int8", 64)),
            wide: Scheme(WeightScheme("int4", 64, scaling=True))}  # fmt: skip
    each, rest = needed_bytes(plan, True)
    assert each > 4 * wide.parameters and rest > head.parameters
    assert needed_bytes(plan, False)[0] < each  # without a calibration, parts of layers suffice
    monkeypatch.setattr(memory, "core_count", lambda: 8)
    for free, count in ((100 * each, 8), (rest + 3 * each, 3), (rest + each, 1)):
        monkeypatch.setattr(memory, "free_bytes", lambda free=free: free)
        assert worker_count(plan, True) == count
    monkeypatch.setattr(memory, "free_bytes", lambda: rest + each - 1)
    with pytest.raises(OmnijetError, match="too little memory") as caught:
        worker_count(plan, True)
    assert f"{(rest + each) / 1e9:.1f} GB" in str(caught.value.expected) and caught.value.fix
    assert worker_count({}, True) == 0  # there is nothing to do
