"""Sources, forms and limits of targets fit together."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path

import pytest

from omnijet.engines.lowering import native
from omnijet.engines.lowering.flavours import FLAVOURS, flavour_for, form_of
from omnijet.engines.targets.devices import DEVICES, Device
from omnijet.engines.targets.limits import LARGE, SMALL, limits_for
from omnijet.engines.targets.sources import SOURCES, Fact
from omnijet.engines.targets.target import TARGETS, Target
from omnijet.engines.targets.toolkits import FEATURES, TOOLKITS
from omnijet.export.checkpoint.folder import Checkpoint
from omnijet.runtime.bundle.contract import AXES, graph_contracts
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.media.image import below, fitted_size, smart_resize
from omnijet.runtime.media.sizing import Ceiling
from omnijet.runtime.model.encoders import MAX_CHUNKS
from omnijet.runtime.model.vision_plan import plan
from omnijet.runtime.speech.presets import PRESETS

PREPROCESSING = Preprocessing.from_preprocessor_config(
    json.loads((Path(__file__).parents[2] / "golden" / "preprocessor_config.json").read_text())
)


def test_every_number_cites_a_source() -> None:
    facts = [
        value
        for device in DEVICES.values()
        for value in (getattr(device, field.name) for field in fields(Device))
        if isinstance(value, Fact)
    ]
    assert sum(fact.value is not None for fact in facts) > 25
    cited = {fact.source for fact in facts if fact.value is not None}
    cited |= {toolkit.source for toolkit in TOOLKITS.values()}
    cited |= {source for _, source in FEATURES.values()}
    assert cited <= set(SOURCES)
    assert set(SOURCES) - cited == {"matrix", "layers", "given"}  # cited by rules and code
    for value, source in ((1.0, None), (None, "thor"), (1.0, "hearsay")):
        with pytest.raises(AssertionError):
            Fact(value, source)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_target_fits_together(target: Target) -> None:
    assert TARGETS[target.name] is target
    assert target.toolkit.oldest <= target.toolkit.newest
    assert (target.compute_capability is None) == (target.library == "onnxruntime")
    dense = target.flavour == "native" and target.library == "tensorrt"
    lowering = native.lower_dense if dense else FLAVOURS[target.flavour]
    assert flavour_for(target) is lowering
    assert form_of(target).startswith(target.flavour)
    assert (form_of(target) != target.flavour) == dense
    assert ("fp8" in target.numbers) == ((target.compute_capability or 0) >= 89)
    assert ("bf16" in target.precisions) == (target.device.name not in ("t4", "cuda-turing"))
    limits = target.limits
    assert set(limits) == set(AXES) and all(size > 0 for size in limits.values())
    assert limits["rows"] <= limits["capacity"] <= 32_768
    assert limits["cells"] <= 16_384 and limits["chunks"] == MAX_CHUNKS
    size = LARGE if (target.memory_gb or 8) >= 16 else SMALL
    grows = target.flavour == "decomposed"
    caches = limits["capacity"] * size.row_bytes
    held, room = (3.5 if grows else 1) * caches, 0.1 * 1e9 * (target.memory_gb or 8)
    # what grows is read where it is filled
    seconds = 0 if grows else caches / (1e9 * (target.bandwidth_gb_s or 1e6))
    assert held <= room and limits["capacity"] >= 2048
    assert seconds <= 0.0025 or limits["capacity"] == 2048
    # twice as many would be too many
    assert 2 * held > room or 2 * seconds > 0.0025 or limits["capacity"] == 32768


def test_the_oldest_version_decides_the_flavour() -> None:
    assert {name: toolkit.flavour for name, toolkit in TOOLKITS.items()} == {
        "ort": "fused-cpu", "ort-jp62": "decomposed-cpu", "ort-cuda": "fused-cuda",
        "jp62": "decomposed", "jp70": "decomposed",
        "jp72": "native", "trt": "native", "rtx": "native",
    }  # fmt: skip
    for version, flavour in (((10, 14), "decomposed"), ((10, 15), "native"), ((11, 0), "native")):
        assert replace(TOOLKITS["jp72"], oldest=version).flavour == flavour
    assert TARGETS["agx-orin-64-jp62"].flavour != TARGETS["agx-orin-64-jp72"].flavour


def test_more_memory_never_allows_less() -> None:
    for flavour in FLAVOURS:
        for model in ((4, 8, 12, 15.9), (16, 24, 32, 64, 128, 256)):  # 3B, then 7B
            sizes = [limits_for(memory, flavour) for memory in model]
            for before, after in pairwise(sizes):  # a longer cache may leave room for fewer rows
                kept = AXES.keys() - {"rows"}
                assert all(before[symbol] <= after[symbol] for symbol in kept), (before, after)
    assert limits_for(None, "native") == limits_for(8, "native")


def test_the_bandwidth_bounds_the_caches() -> None:
    """The figures in the docstring of `omnijet.engines.targets.limits` are right."""
    found = {name: TARGETS[name].limits["capacity"] for name in (
        "thor-jp72", "thor-jp70", "orin-nx-jp62", "orin-nano-jp72", "cuda-hopper", "rtx-ada", "cpu",
    )}  # fmt: skip
    assert found == {
        "thor-jp72": 4096, "thor-jp70": 32768, "orin-nx-jp62": 4096, "orin-nano-jp72": 4096,
        "cuda-hopper": 32768, "rtx-ada": 16384, "cpu": 8192,
    }  # fmt: skip
    for flavour in FLAVOURS:
        sizes = [limits_for(64, flavour, bandwidth)["capacity"] for bandwidth in (1, 50, 300, 4000)]
        assert sizes == sorted(sizes) and (sizes[0] == 2048 or flavour == "decomposed")
        assert sizes[-1] == limits_for(64, flavour)["capacity"]
    assert limits_for(1, "native", 1)["capacity"] < 2048  # memory is the tighter bound


@pytest.fixture(scope="module")
def dims() -> ModelDims:
    return Checkpoint.open(Path(__file__).parents[3] / "omnijet" / "nano" / "checkpoint").dims


def test_cache_rows_are_those_of_the_contract(dims: ModelDims) -> None:
    """The bytes of a row follow from a model's dimensions in the way that `limits` states."""
    for graph, decoder in (("thinker_step", dims.thinker), ("talker_step", dims.talker)):
        contract = graph_contracts(dims, "f16")[graph]
        caches = [contract.input(pair.input) for pair in contract.state]
        a_row = sum(one.shape({"capacity": 1})[1] * one.shape({"capacity": 1})[3] for one in caches)
        assert a_row == decoder.layers * decoder.kv_heads * decoder.head_dim * 2
    assert (SMALL.row_bytes, LARGE.row_bytes) == (36_864 + 12_288, 57_344 + 49_152)


@pytest.mark.parametrize("height, width", [(1080, 1920), (600, 5000), (5000, 600), (448, 448)])
def test_windows_suffice_for_every_picture_of_so_many_cells(
    dims: ModelDims, height: int, width: int
) -> None:
    for target in ("orin-nano-jp62", "thor-jp72"):
        limits = TARGETS[target].limits
        rows, columns = smart_resize(height, width, 28, 3136, limits["cells"] * 28 * 28)
        planned = plan(dims.vision, rows // 14, columns // 14)
        assert planned.cells <= limits["cells"]
        assert len(planned.window_rows) <= limits["windows"]


def test_speech_windows_fit() -> None:
    for target in TARGETS.values():
        sizes = []
        for preset in PRESETS.values():
            scheme = preset.windows
            sizes.append(scheme.past + max(scheme.chunks) + scheme.ahead)
        assert target.limits["blocks"] == max(sizes) == 9  # and no larger


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("size", [(3024, 4032), (1080, 1920)])
def test_no_target_refuses_what_phones_take(name: str, size: tuple[int, int]) -> None:
    limits = TARGETS[name].limits
    cell = PREPROCESSING.factor**2
    ceiling = Ceiling(limits["cells"] * cell, limits["capacity"] * cell, "")
    for count in (1, 60):
        natural = fitted_size(*size, PREPROCESSING, 3136, 12_845_056, "it")
        if count > 1:
            natural = fitted_size(*size, PREPROCESSING, 128 * cell, 768 * cell, "it")
        made = below(natural, PREPROCESSING, ceiling, "it", count)
        assert made[0] * made[1] <= limits["cells"] * cell
        # an odd size must not cost more windows than the engine has
        rows, columns = made[0] // 28, made[1] // 28
        assert -(-rows // 4) * -(-columns // 4) <= limits["windows"]
        if count == 1:
            assert rows * columns < limits["capacity"]
