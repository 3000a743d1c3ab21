"""Memory predicted from a graph's weights is near the measured one."""

from __future__ import annotations

from pathlib import Path

import pytest

from omnijet.engines.build_memory import Need, WeightBytes, memory_warning
from omnijet.engines.lowering import native
from omnijet.engines.targets.build_rates import least_bytes, predicted_bytes
from omnijet.engines.targets.target import TARGETS
from omnijet.runtime.bundle.contract import GraphContract
from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.machine.memory import free_bytes
from omnijet.runtime.machine.root import VARIABLE
from tests.machines import fake_machine
from tests.quantization.graphs import quantize

MEASURED = {
    # weights of graphs of the 3B -> peak of a build with TensorRT-RTX 1.7
    WeightBytes(930_676_736, 0, 622_329_856): 2_726_055_936,  # Thinker, f16, 2 layers
    WeightBytes(6_172_434_432, 0, 622_329_856): 13_625_122_816,  # Thinker, f16, 36 layers
    WeightBytes(1_797_460_992, 1_387_266_048, 311_164_928): 5_660_733_440,  # Thinker, orin-int4
    WeightBytes(1_276_854_272, 0, 13_107_200): 3_516_772_352,  # audio encoder, f16
    WeightBytes(739_483_968, 0, 12_582_912): 2_339_553_280,  # DiT, f32
    WeightBytes(461_774_128, 0, 51_904_512): 2_126_675_968,  # vocoder, f32
}


def test_the_weights_of_a_graph(nano_f16: Path) -> None:
    manifest = Manifest.read(nano_f16)
    for name, entry in manifest.graphs.items():
        weights = WeightBytes.of(nano_f16 / entry.file)
        assert 0.8 * entry.weight_bytes < weights.total <= entry.weight_bytes * 1.1, name
        assert 0 < weights.largest < weights.total and weights.packed == 0


def test_weights_that_become_floats(
    thinker_f16: tuple[Path, GraphContract], tmp_path: Path
) -> None:
    """The predicted bytes are those of the lowered graph."""
    source, contract = thinker_f16
    quantize(source, contract, tmp_path / "graphs", "int8", True)
    path = tmp_path / "graphs" / source.name
    native.lower_dense(path, contract, tmp_path, 0, lambda count: None)
    lowered = WeightBytes.of(tmp_path / source.name)
    dense, kept = WeightBytes.of(path, int8_blocks=False), WeightBytes.of(path)
    assert 0.95 < lowered.total / dense.total <= 1 and lowered.largest == dense.largest
    assert kept.total < 0.7 * dense.total


@pytest.mark.parametrize("weights", MEASURED)
def test_predictions_beside_measurements(weights: WeightBytes) -> None:
    assert 0.87 < predicted_bytes(weights, "tensorrt_rtx") / MEASURED[weights] < 1.25


def test_what_the_optimizer_of_onnxruntime_takes() -> None:
    weights, measured = WeightBytes(461_774_128, 0, 51_904_512), 525_672_448  # vocoder of the 3B
    assert measured < least_bytes(weights, "onnxruntime") < 1.2 * measured
    assert predicted_bytes(weights, "onnxruntime") < 2 * measured


def test_pages_of_the_file_may_go() -> None:
    """5 of 13.5 GB at the peak are mapped from the file."""
    weights = WeightBytes(6_172_434_432, 0, 622_329_856)
    assert 8e9 < least_bytes(weights, "tensorrt_rtx") < 9.5e9
    # of TensorRT nothing was measured: what refuses is what was
    assert least_bytes(weights, "tensorrt") == least_bytes(weights, "tensorrt_rtx")


def test_builds_on_a_device_take_several_times_the_weights() -> None:
    """A build takes 3 to 4 times the bytes of the parameters, as published."""
    weights = WeightBytes(6_200_000_000, 0, 622_329_856)
    assert 3 < predicted_bytes(weights, "tensorrt") / weights.total < 5


def test_what_this_machine_lacks_is_refused() -> None:
    target = TARGETS["rtx-ada"]
    assert memory_warning("vocoder", Need(1, 1), target) is None
    much = 10 * free_bytes()
    assert memory_warning("vocoder", Need(much, 1), target) is None  # mapped pages come back
    with pytest.raises(OmnijetError, match="too little memory") as error:
        memory_warning("vocoder", Need(much, much), target)
    assert "swap on a disk" in str(error.value.fix) and "--ignore-memory" in str(error.value.fix)
    said = memory_warning("vocoder", Need(much, much), target, ignored=True)
    assert said is not None and said.startswith("vocoder may need") and "measured" not in said


def test_hearsay_warns_and_refuses_nothing() -> None:
    target, much = TARGETS["orin-nano-jp62"], 10 * free_bytes()
    assert memory_warning("thinker_step", Need(1, 1), target) is None
    said = memory_warning("thinker_step", Need(much, 1_000_000), target) or ""
    assert (
        "3 to 4 times" in said and "edgeserve" in said and "as measured with TensorRT-RTX" in said
    )
    with pytest.raises(OmnijetError, match="as measured with TensorRT-RTX"):
        memory_warning("thinker_step", Need(much, much), target)


def test_swap_in_zram_is_not_taken_for_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = fake_machine(tmp_path, "orin-nano-jp62", free_share=0.5)
    monkeypatch.setenv(VARIABLE, str(root))
    need = Need(5_000_000_000, 5_000_000_000)  # 4.0 GB are free, and 4.0 GB of zram
    with pytest.raises(OmnijetError) as error:
        memory_warning("thinker_step", need, TARGETS["orin-nano-jp62"])
    assert error.value.got == "4.0 GB free; 4.0 GB of swap in zram are memory itself"
    with (root / "proc/swaps").open("a") as file:
        file.write("/swapfile file 8000000 0 -2\n")
    assert memory_warning("thinker_step", need, TARGETS["orin-nano-jp62"]) is None
