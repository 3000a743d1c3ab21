"""Tests of reading speakers, and of every fault of their file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from omnijet.export.checkpoint.config import read_dims
from omnijet.export.checkpoint.voices import load_voices
from omnijet.export.synthetic.presets import preset
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.errors import OmnijetError


@pytest.fixture(scope="module")
def dims() -> ModelDims:
    return read_dims(preset("nano"), None, "nano")


def entry(dims: ModelDims, **changes: Any) -> dict[str, Any]:
    fine = {
        "bos_token": 7,
        "cond": torch.ones(1, dims.dit.speaker_cond),
        "ref_mel": torch.zeros(1, 50, dims.dit.mel),
    }
    return {**fine, **changes}


def test_round_trip(dims: ModelDims, tmp_path: Path) -> None:
    path = tmp_path / "spk_dict.pt"
    half = torch.full((1, 31, dims.dit.mel), 0.5, dtype=torch.bfloat16)
    torch.save({"Ann": entry(dims), "Bo": entry(dims, bos_token=9, ref_mel=half)}, path)
    voices = load_voices(path, dims)
    assert list(voices) == ["Ann", "Bo"] and voices["Bo"].bos_token == 9
    assert voices["Bo"].ref_mel.dtype == torch.float32 and voices["Bo"].ref_mel.shape[1] == 31


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bos_token": 10**9}, "bos_token"),
        ({"bos_token": "7"}, "bos_token"),
        ({"bos_token": True}, "bos_token"),
        ({"cond": torch.ones(1, 5)}, "cond"),
        ({"cond": torch.ones(2, 64)}, "cond"),
        ({"cond": torch.ones(1, 64, dtype=torch.int64)}, "cond"),
        ({"ref_mel": torch.zeros(1, 0, 80)}, "ref_mel"),
        ({"ref_mel": torch.zeros(1, 4, 80)}, "ref_mel"),
        ({"ref_mel": torch.zeros(2, 50, 80)}, "ref_mel"),
        ({"cond": None}, "cond"),
        ({"ref_mel": torch.zeros(1, 50, 7)}, "ref_mel"),
        ({"ref_mel": torch.full((1, 50, 80), float("nan"))}, "ref_mel"),
    ],
)
def test_a_speaker_that_does_not_fit(
    dims: ModelDims, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    path = tmp_path / "spk_dict.pt"
    torch.save({"Ann": entry(dims), "Bo": entry(dims, **changes)}, path)
    with pytest.raises(OmnijetError) as caught:
        load_voices(path, dims)
    assert f"Bo.{said}" in str(caught.value) and "Ann" not in str(caught.value)


@pytest.mark.parametrize("content", [[], {}, {"../x": 1}, {"Ann": [1]}])
def test_a_file_of_something_else(dims: ModelDims, tmp_path: Path, content: Any) -> None:
    path = tmp_path / "spk_dict.pt"
    torch.save(content, path)
    with pytest.raises(OmnijetError):
        load_voices(path, dims)


def test_code_in_the_file_is_not_run(dims: ModelDims, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.write_text, (tmp_path / "sprung", "x"))

    path = tmp_path / "spk_dict.pt"
    torch.save({"Ann": Trap()}, path)
    with pytest.raises(OmnijetError):
        load_voices(path, dims)
    assert not (tmp_path / "sprung").exists()
