"""Weights that are NaN or infinite are refused by tensor and index."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from omnijet.cli import main
from omnijet.export.checkpoint import numbers
from omnijet.export.checkpoint.folder import Checkpoint
from omnijet.runtime.errors import OmnijetError

Q = "thinker.model.layers.0.self_attn.q_proj.weight"
NORM = "talker.model.norm.weight"


@pytest.fixture
def diverged(shallow: Path, tmp_path: Path) -> Path:
    """Returns a checkpoint of which two weights have values that are not finite."""
    folder = tmp_path / "diverged"
    shutil.copytree(shallow, folder)
    for path in folder.glob("*.safetensors"):
        tensors = load_file(path)
        if Q in tensors:
            tensors[Q][37, 5] = math.nan
            tensors[Q][40, 0] = -math.inf
            tensors[NORM][3] = math.inf
            save_file(tensors, path)
    return folder


def test_an_export_names_all_of_them(
    diverged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "bundle"
    assert main(["export", str(diverged), str(bundle)]) == 2
    text = capsys.readouterr().err
    assert re.search(r"2 of \d+ weights have values that are not finite", text)
    assert f"{Q}: nan at [37, 5], 2 of 4096 values" in text
    assert f"{NORM}: inf at [3]\n" in text
    assert [path.name for path in tmp_path.iterdir()] == ["diverged"]


def test_indices_are_those_of_the_whole_weight(
    diverged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numbers, "_BLOCK_VALUES", 640)  # ten rows
    checkpoint = Checkpoint.open(diverged)
    checkpoint.rows(Q, 0, 37)
    with pytest.raises(OmnijetError, match=re.escape(f"{Q}: nan at [37, 5], 2 of 4096")):
        checkpoint.rows(Q, 36, 38)
    with pytest.raises(OmnijetError):
        checkpoint.tensor(NORM)


def test_merged_values_are_checked_too(shallow: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 1}')
    up = torch.ones(64, 1)
    up[9] = 3e38
    start = "base_model.model." + Q.removesuffix(".weight")
    save_file(
        {f"{start}.lora_A.weight": torch.full((1, 64), 1e3), f"{start}.lora_B.weight": up},
        folder / "adapter_model.safetensors",
    )
    checkpoint = Checkpoint.open(shallow)
    checkpoint.merge([folder])
    with pytest.raises(OmnijetError) as raised:
        checkpoint.tensor(Q)
    assert f"{shallow} with {folder}" in str(raised.value)
    assert f"{Q}: inf at [9, 0], 64 of 4096 values" in str(raised.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_one_value_of_many_is_found(dtype: torch.dtype, odd: float) -> None:
    for size in (1, 7, 1000):
        for place in {0, size // 2, size - 1}:
            value = torch.ones(size).to(dtype)
            assert numbers.finite(value)
            value[place] = odd
            assert not numbers.finite(value)
    assert numbers.finite(torch.ones(3, dtype=torch.int32)) and numbers.finite(torch.empty(0))
