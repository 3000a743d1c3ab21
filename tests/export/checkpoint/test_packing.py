"""Tests of the configurations of packed checkpoints, and of every fault of their tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from omnijet.export.checkpoint.config import packing_of, read_dims
from omnijet.export.checkpoint.folder import Checkpoint
from omnijet.export.checkpoint.packing import Packing
from omnijet.export.synthetic.checkpoint import write_checkpoint
from omnijet.export.synthetic.presets import preset
from omnijet.runtime.errors import OmnijetError
from tests.export.packer import Recipe, pack_checkpoint
from tests.export.published import config_7b

LAYER = "thinker.model.layers.1.mlp.gate_proj"
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm", "zero_point": True}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}


def config_with(quantization: Any, *sections: str) -> dict[str, Any]:
    config = config_7b()
    for section in sections or ("",):
        (config[section] if section else config)["quantization_config"] = quantization
    return config


@pytest.mark.parametrize("sections", [(), ("thinker_config",), ("", "thinker_config")])
@pytest.mark.parametrize(
    ("quantization", "packing"),
    [
        (AWQ, Packing("awq", 4, 128)),
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64}, Packing("awq", 4, 64)),
        ({**AWQ, "version": "GEMM"}, Packing("awq", 4, 128)),
        (GPTQ, Packing("gptq", 4, 128, zeros_less_one=True)),
        ({**GPTQ, "checkpoint_format": "gptq"}, Packing("gptq", 4, 128, zeros_less_one=True)),
        ({**GPTQ, "checkpoint_format": "gptq_v2"}, Packing("gptq", 4, 128)),
        ({**GPTQ, "bits": 8}, Packing("gptq", 8, 128, zeros_less_one=True)),
        (
            {**GPTQ, "meta": {"quantizer": ["gptqmodel:2.2.0"]}},
            Packing("gptq", 4, 128, zeros_less_one=True, borrows=True),
        ),
    ],
)
def test_read(quantization: dict[str, Any], packing: Packing, sections: tuple[str, ...]) -> None:
    config = config_with(quantization, *sections)
    read_dims(config, None, "config.json")
    assert packing_of(config) == packing
    assert packing_of(config_7b()) is None


@pytest.mark.parametrize(
    ("quantization", "message"),
    [
        ({"quant_method": "fp8"}, "quant_method: expected 'awq' or 'gptq', or full-precision"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "got 'bitsandbytes'"),
        ({"bits": 4}, "quant_method: expected 'awq' or 'gptq', or full-precision"),
        ("awq", "quantization_config: expected an object"),
        ({**AWQ, "bits": 8}, "bits: expected 4, got 8"),
        ({**GPTQ, "bits": 3}, "bits: expected 4 or 8, got 3"),
        ({**AWQ, "group_size": -1}, "group_size: expected a whole number from 1 to 16777216, got"),
        ({**AWQ, "version": "gemv"}, "version: expected 'gemm' or 'GEMM', got 'gemv'"),
        ({**GPTQ, "checkpoint_format": "marlin"}, "got 'marlin'"),
        ({**GPTQ, "is_marlin_format": True}, "is_marlin_format: expected False"),
        ({**GPTQ, "pack_dtype": "int16"}, "pack_dtype: expected 'int32'"),
    ],
)
def test_refused(quantization: Any, message: str) -> None:
    with pytest.raises(OmnijetError) as caught:
        read_dims(config_with(quantization, "thinker_config"), None, "config.json")
    assert message in str(caught.value) and "thinker_config.quantization_config" in str(
        caught.value
    )


def test_all_faults_of_the_configuration_at_once() -> None:
    config = config_with({**GPTQ, "bits": 5, "group_size": 0, "pack_dtype": "int8"})
    config["talker_config"]["quantization_config"] = AWQ
    with pytest.raises(OmnijetError) as caught:
        read_dims(config, None, "config.json")
    assert "(3 faults)" in str(caught.value)  # bits are not checked in a section that has faults


def test_two_that_differ_are_refused() -> None:
    config = config_with(AWQ)
    config["thinker_config"]["quantization_config"] = {**AWQ, "group_size": 64}
    with pytest.raises(OmnijetError, match=r"thinker_config\.quantization_config: expected what"):
        read_dims(config, None, "config.json")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packing") / "floats"
    return write_checkpoint(folder, preset("nano"), seed=2)


@pytest.fixture(params=["awq", "gptq"])
def folder(request: pytest.FixtureRequest, source: Path, tmp_path: Path) -> Path:
    recipe = Recipe(request.param, 16, least_zero=1)
    pack_checkpoint(source, tmp_path / "packed", recipe)
    return tmp_path / "packed"


def verdict(folder: Path) -> str:
    checkpoint = Checkpoint.open(folder)
    with pytest.raises(OmnijetError) as caught:
        checkpoint.verify(checkpoint.dims)
    return str(caught.value)


def change(folder: Path, **tensors: Tensor | None) -> None:
    """Replaces tensors of a layer; None removes one."""
    path = folder / "model.safetensors"
    stored = load_file(path)
    for part, value in tensors.items():
        stored.pop(f"{LAYER}.{part}", None)
        if value is not None:
            stored[f"{LAYER}.{part}"] = value
    save_file(stored, path)


def reconfigure(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["quantization_config"].update(values)
    path.write_text(json.dumps(config))


def test_complete_ones_pass(folder: Path) -> None:
    checkpoint = Checkpoint.open(folder)
    checkpoint.verify(checkpoint.dims)


def test_faults_of_tensors_are_listed_together(folder: Path) -> None:
    stored = load_file(folder / "model.safetensors")
    weight, scales = (stored[f"{LAYER}.{part}"] for part in ("qweight", "scales"))
    change(folder, qzeros=None, qweight=weight[:-1].clone(), scales=scales.to(torch.int32))
    rows, columns = weight.shape
    message = verdict(folder)
    assert "(3 faults)" in message and f"weights missing: {LAYER}.qzeros" in message
    assert f"{LAYER}.qweight is [{rows - 1}, {columns}], not [{rows}, {columns}]" in message
    assert f"{LAYER}.scales is i32, not bf16 or f16 or f32" in message


def test_one_packed_tensor_requires_the_others(folder: Path) -> None:
    change(folder, qweight=None, scales=None)
    assert "2 of" in verdict(folder) and f"{LAYER}.qweight, {LAYER}.scales" in verdict(folder)


def test_words_must_be_whole_numbers(folder: Path) -> None:
    weight = load_file(folder / "model.safetensors")[f"{LAYER}.qweight"]
    change(folder, qweight=weight.float())
    assert f"{LAYER}.qweight is f32, not i32" in verdict(folder)


def test_groups_must_divide(folder: Path) -> None:
    reconfigure(folder, group_size=48)
    message = verdict(folder)
    assert (
        "28 layers cannot be divided into groups of 48: thinker.model.layers.0.self_attn.q_proj"
        in message
    )


def test_packed_layers_require_a_configuration(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    del config["quantization_config"]
    path.write_text(json.dumps(config))
    message = verdict(folder)
    assert "28 layers are packed, but config.json has no quantization_config" in message


def test_only_decoders_may_be_packed(folder: Path) -> None:
    path = folder / "model.safetensors"
    stored = load_file(path)
    stored["thinker.lm_head.qweight"] = torch.zeros(8, 8, dtype=torch.int32)
    save_file(stored, path)
    assert "belong to no part of the model: thinker.lm_head.qweight" in verdict(folder)
