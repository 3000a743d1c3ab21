"""Tests of reading speakers, and of every fault of their file."""

from __future__ import annotations

import io
import os
import time
import zipfile
from collections.abc import Callable
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


def packed(path: Path, content: Any) -> None:
    """Writes what torch would, compressed."""
    source = io.BytesIO()
    torch.save(content, source)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))


def pickled(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("spk/data.pkl", content)
        file.writestr("spk/version", "3")
        file.writestr("spk/data/0", bytes(16))


def enormous(dims: ModelDims, path: Path) -> None:
    """Writes a tensor whose 5 numbers are announced as 10^12."""
    source = io.BytesIO()
    torch.save({"Ann": entry(dims, cond=torch.ones(1, 5))}, source)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for member in old.infolist():
            content = old.read(member)
            if member.filename.endswith("data.pkl"):
                content = content.replace(b"K\x05", b"\x8a" + TRILLION)
            new.writestr(member.filename, content)


TRILLION = b"\x06\x00\x10\xa5\xd4\xe8\x00"
HOSTILE: dict[str, Callable[[ModelDims, Path], Any]] = {
    "sparse": lambda d, p: torch.save({"A": entry(d, cond=torch.ones(1, 64).to_sparse())}, p),
    "meta": lambda d, p: torch.save({"A": entry(d, cond=torch.empty(1, 10**9, device="meta"))}, p),
    "expanded": lambda d, p: torch.save(
        {"A": entry(d, ref_mel=torch.zeros(1, 1, d.dit.mel).expand(1, 10**10, d.dit.mel))}, p
    ),
    "an enormous storage": enormous,
    "many": lambda d, p: torch.save({str(n): {} for n in range(5000)}, p),
    "nested": lambda d, p: torch.save({"A": {"cond": {"cond": {}}, "bos_token": [[]]}}, p),
    "deep": lambda d, p: pickled(p, b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."),
    "old": lambda d, p: torch.save({"A": entry(d)}, p, _use_new_zipfile_serialization=False),
    "a bomb": lambda d, p: packed(p, {"A": torch.zeros(16_000_000)}),
    "a byte array": lambda d, p: pickled(
        p, b"\x80\x02c__builtin__\nbytearray\n\x8a" + TRILLION + b"\x85R."
    ),
    "long bytes": lambda d, p: pickled(p, b"\x80\x05\x96\xff\xff\xff\xff\x3f\0\0\0."),
    "a large memo": lambda d, p: pickled(p, b"\x80\x02}r\xff\xff\xff\x7f."),
    "no pickle": lambda d, p: pickled(p, b"hello"),
    "no archive": lambda d, p: p.write_bytes(bytes(100)),
    "a pipe": lambda d, p: os.mkfifo(p),
    "a hole": lambda d, p: os.truncate(os.open(p, os.O_CREAT | os.O_WRONLY), 1 << 40),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_costs_nothing(dims: ModelDims, tmp_path: Path, name: str) -> None:
    path = tmp_path / "spk_dict.pt"
    HOSTILE[name](dims, path)
    Path("/proc/self/clear_refs").write_text("5")
    before, began = peak(), time.perf_counter()
    with pytest.raises(OmnijetError, match="voices"):
        load_voices(path, dims)
    assert time.perf_counter() - began < 10
    assert peak() - before < 200e6


def peak() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def test_a_token_in_a_tensor(dims: ModelDims, tmp_path: Path) -> None:
    path = tmp_path / "spk_dict.pt"
    torch.save({"Ann": entry(dims, bos_token=torch.tensor([9]))}, path)
    assert load_voices(path, dims)["Ann"].bos_token == 9
