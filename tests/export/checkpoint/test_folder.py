"""Tests of reading tensors, and of every fault that a checkpoint folder can have."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from omnijet.export.checkpoint.config import read_dims
from omnijet.export.checkpoint.folder import Checkpoint
from omnijet.export.checkpoint.shard import read_header, read_tensor
from omnijet.export.checkpoint.tensor_layout import checkpoint_layout
from omnijet.runtime.errors import OmnijetError
from tests.export.published import config_7b, small_config

SHARDS = 3
TALKER_HEAD = "talker.codec_head.weight"
DTYPES = {"bf16": torch.bfloat16, "f32": torch.float32}


def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    layout = checkpoint_layout(read_dims(small_config(), None, "config.json"))
    return {key: torch.randn(t.shape).to(DTYPES[t.dtype]) for key, t in layout.items()}


def write(folder: Path, tensors: dict[str, Tensor], shards: int = SHARDS) -> Path:
    folder.mkdir()
    keys = list(tensors)
    names = [f"model-{i + 1:05d}-of-{shards:05d}.safetensors" for i in range(shards)]
    weight_map = {key: names[i * shards // len(keys)] for i, key in enumerate(keys)}
    for name in names:
        part = {key: tensors[key] for key in keys if weight_map[key] == name}
        save_file(part, folder / name, metadata={"format": "pt"})
    write_json(folder / "model.safetensors.index.json", {"weight_map": weight_map})
    write_json(folder / "config.json", small_config())
    for name in ("preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"):
        write_json(folder / name, {})
    (folder / "spk_dict.pt").write_bytes(b"voices")
    return folder


def write_json(path: Path, data: object) -> None:
    path.write_text(json.dumps(data), encoding="utf-8")


def write_header(path: Path, header: object, data: bytes = b"") -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    return weights()


@pytest.fixture
def folder(tmp_path: Path, tensors: dict[str, Tensor]) -> Path:
    return write(tmp_path / "checkpoint", tensors)


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(OmnijetError) as caught:
        action()
    return str(caught.value)


def verdict(folder: Path) -> str:
    """Returns the error of `verify` for a folder that can be opened."""
    checkpoint = Checkpoint.open(folder)
    return refusal(lambda: checkpoint.verify(checkpoint.dims))


def test_a_complete_checkpoint(folder: Path, tensors: dict[str, Tensor]) -> None:
    checkpoint = Checkpoint.open(folder)
    checkpoint.verify(checkpoint.dims)
    assert checkpoint.folder == folder
    assert checkpoint.keys() == tensors.keys()
    for key, expected in tensors.items():
        found = checkpoint.tensor(key)
        assert found.dtype == expected.dtype and torch.equal(found, expected), key


def test_one_file_without_index(folder: Path, tensors: dict[str, Tensor]) -> None:
    for path in folder.glob("model*"):
        path.unlink()
    save_file(tensors, folder / "model.safetensors")
    checkpoint = Checkpoint.open(folder)
    checkpoint.verify(checkpoint.dims)
    assert torch.equal(checkpoint.tensor(TALKER_HEAD), tensors[TALKER_HEAD])


def test_rows(folder: Path, tensors: dict[str, Tensor]) -> None:
    checkpoint = Checkpoint.open(folder)
    for key in ("thinker.model.embed_tokens.weight", "thinker.audio_tower.conv1.weight"):
        expected = tensors[key]
        for start, stop in ((0, 1), (3, 17), (5, 5), (0, len(expected))):
            assert torch.equal(checkpoint.rows(key, start, stop), expected[start:stop])


def test_entry_says_where_the_bytes_lie(folder: Path, tensors: dict[str, Tensor]) -> None:
    entry = Checkpoint.open(folder).entry(TALKER_HEAD)
    expected = tensors[TALKER_HEAD]
    assert entry.shape == tuple(expected.shape) and entry.dtype == "bf16"
    data = entry.path.read_bytes()[entry.offset : entry.offset + entry.nbytes]
    assert data == expected.view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_dtypes_and_odd_shapes(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {
        "scalar": torch.tensor(1.5).to(dtype),
        "empty": torch.empty(0, 4, dtype=dtype),
        "odd": torch.randn(3, 1, 5).to(dtype),  # 15 values: the next tensor is not aligned
        "specials": torch.tensor([float("inf"), float("-inf"), -0.0]).to(dtype),
    }
    save_file(tensors, tmp_path / "x.safetensors")
    entries = read_header(tmp_path / "x.safetensors")
    for key, expected in tensors.items():
        found = read_tensor(entries[key])
        assert found.shape == expected.shape and torch.equal(found, expected)


def test_reading_rows_does_not_read_the_tensor(tmp_path: Path) -> None:
    """A process reads one row in ten of a sparse file of 256 MB and measures its peak memory."""
    rows, width = 1000, 64_000
    nbytes = rows * width * 4
    write_header(
        tmp_path / "x.safetensors",
        {"big": {"dtype": "F32", "shape": [rows, width], "data_offsets": [0, nbytes]}},
    )
    path = tmp_path / "x.safetensors"
    os.truncate(path, path.stat().st_size + nbytes)
    code = f"""
import resource
from pathlib import Path
from omnijet.export.checkpoint.shard import read_header, read_tensor
entry = read_header(Path({str(path)!r}))["big"]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for row in range(0, {rows}, 10):
    assert read_tensor(entry, row, row + 1).shape == (1, {width})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(result.stdout) < 16_000  # kB


def test_missing_weights_are_counted_and_named(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    gone = [TALKER_HEAD, "thinker.lm_head.weight", "thinker.visual.merger.ln_q.weight"]
    total = len(tensors)
    kept = {key: value for key, value in tensors.items() if key not in gone}
    message = verdict(write(tmp_path / "c", kept))
    assert f"3 of {total} weights missing" in message and "(1 fault)" in message
    assert all(key in message for key in gone)


def test_wrong_shape(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    rows = tensors[TALKER_HEAD].shape[0]
    tensors[TALKER_HEAD] = tensors[TALKER_HEAD][:-1].contiguous()
    message = verdict(write(tmp_path / "c", tensors))
    assert "1 of" in message and f"is [{rows - 1}, 40], not [{rows}, 40]" in message


def test_quantized_weights(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    tensors[TALKER_HEAD] = torch.zeros(tensors[TALKER_HEAD].shape, dtype=torch.int8)
    tensors["talker.codec_head.scales"] = torch.ones(4)
    folder = write(tmp_path / "c", tensors)
    message = verdict(folder)
    assert f"{TALKER_HEAD} is i8" in message
    unread = "stored weights belong to no part of the model: talker.codec_head.scales"
    assert f"1 of {len(tensors)} {unread}" in message
    assert "full-precision" in refusal(lambda: Checkpoint.open(folder).tensor(TALKER_HEAD))


def test_recomputed_buffers_are_no_fault(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    tensors["talker.model.rotary_emb.inv_freq"] = torch.ones(6)
    checkpoint = Checkpoint.open(write(tmp_path / "c", tensors))
    checkpoint.verify(checkpoint.dims)


def test_speech_in_16_bits_is_a_warning(
    tmp_path: Path, tensors: dict[str, Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    key = "token2wav.code2wav_bigvgan_model.conv_pre.weight"
    tensors[key] = tensors[key].to(torch.bfloat16)
    checkpoint = Checkpoint.open(write(tmp_path / "c", tensors))
    checkpoint.verify(checkpoint.dims)
    assert f"token2wav has 16-bit weights (1): {key}" in caplog.text


def test_all_faults_at_once(folder: Path, tensors: dict[str, Tensor]) -> None:
    first, second, third = sorted(folder.glob("*.safetensors"))
    first.unlink()
    os.truncate(second, second.stat().st_size - 100)
    save_file({"stray": torch.ones(2)}, third)
    message = verdict(folder)
    assert f"{first.name} is missing" in message
    assert f"{second.name}: a weight file is truncated" in message
    assert f"weights not in {third.name}" in message
    assert "no part of the model: stray" in message
    # the weights of the missing and damaged files are not listed a second time
    assert "weights missing" not in message and "(4 faults)" in message


def test_a_weight_of_a_lost_shard_names_the_shard(folder: Path) -> None:
    last = sorted(folder.glob("*.safetensors"))[-1]
    key = next(iter(read_header(last)))
    last.unlink()
    checkpoint = Checkpoint.open(folder)
    message = refusal(lambda: checkpoint.tensor(key))
    assert last.name in message and key in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "no safetensors header"),
        (b"\x01\x02", "no safetensors header"),
        (b"\xff" * 64, "no safetensors header"),
        (struct.pack("<Q", 20) + b"{", "no safetensors header"),
        (struct.pack("<Q", 4) + b"{{{{", "a header that is not JSON"),
        (struct.pack("<Q", 4) + b"\xff\xfe\xfd\xfc", "a header that is not JSON"),
        (struct.pack("<Q", 4) + b"[1] ", "not a JSON object"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n", "Git LFS pointer"),
    ],
)
def test_damaged_headers(folder: Path, content: bytes, expected: str) -> None:
    victim = sorted(folder.glob("*.safetensors"))[1]
    victim.write_bytes(content)
    message = verdict(folder)
    assert f"{victim.name}: a weight file is damaged" in message and expected in message


@pytest.mark.parametrize(
    "fields",
    [
        {},
        5,
        {"dtype": "F32", "shape": [2], "data_offsets": [0]},
        {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 12]},
        {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": None, "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]},
    ],
)
def test_damaged_entries(tmp_path: Path, fields: object) -> None:
    write_header(tmp_path / "x.safetensors", {"x": fields}, bytes(64))
    assert "damaged" in refusal(lambda: read_header(tmp_path / "x.safetensors"))


ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"x": ONE, "y": ONE}, "8 bytes in common of x and y"),
        ({"x": ONE, "y": {**ONE, "data_offsets": [12, 20]}}, "4 bytes of nothing between x and y"),
        ({"x": {**ONE, "data_offsets": [4, 12]}}, "4 bytes of nothing between the header and x"),
        ({"x": ONE}, "12 bytes of nothing between x and the end"),
        ({"x": {**ONE, "data_offsets": [0, 1 << 60]}}, "x: f32"),
        ({"x": {**ONE, "shape": [1 << 40, 1 << 40]}}, "x: f32"),
        ({"x": {**ONE, "shape": [10**30, 0], "data_offsets": [0, 0]}}, "x: f32"),
        ({"x": {**ONE, "shape": [1] * 100_000 + [2]}}, "x: f32"),
        ({"x": {**ONE, "dtype": "F" * 100_000}}, "x: ffff"),
        ({"x": {**ONE, "dtype": "I-8"}}, "x: i-8"),
        ({"x" * 501: ONE}, "a tensor that is called"),
        ({"\x1b[0m": ONE}, "a tensor that is called"),
        ({str(n): {**ONE, "shape": [0], "data_offsets": [0, 0]} for n in range(130_000)}, "values"),
        ({"x": [[]] * 900_000}, "values"),
    ],
    ids=range(14),
)
def test_headers_that_lie(tmp_path: Path, header: dict[str, Any], expected: str) -> None:
    path = tmp_path / "x.safetensors"
    write_header(path, header, bytes(20))
    began = time.process_time()
    message = refusal(lambda: read_header(path))
    assert expected in message and len(message) < 1500 and "\x1b" not in message
    assert time.process_time() - began < 10


def test_a_header_with_a_key_twice_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    text = json.dumps({"x": ONE, "y": {**ONE, "data_offsets": [8, 16]}}).replace('"y"', '"x"')
    path.write_bytes(struct.pack("<Q", len(text)) + text.encode() + bytes(16))
    assert "'x' twice" in refusal(lambda: read_header(path))


def test_a_weight_in_two_files_is_a_fault(folder: Path) -> None:
    first, second = sorted(folder.glob("*.safetensors"))[:2]
    shutil.copy(first, second)
    assert f"{second.name}: " in verdict(folder) and "stored twice" in verdict(folder)


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/etc/x", "..", ".", "", "a\0", "a\\b", "a\nb", "x" * 300]
)
def test_the_index_names_files_of_the_folder(folder: Path, name: str) -> None:
    write_json(folder / "model.safetensors.index.json", {"weight_map": {"x": name}})
    assert "index of the weight files is damaged" in refusal(lambda: Checkpoint.open(folder))


def test_the_index_names_few_files(folder: Path) -> None:
    names = {f"x{n}": f"model-{n}.safetensors" for n in range(5000)}
    write_json(folder / "model.safetensors.index.json", {"weight_map": names})
    assert "at most 1000" in refusal(lambda: Checkpoint.open(folder))


@pytest.mark.parametrize("place", ["blobs/abc", "other/disk.safetensors", "secret"])
def test_links_to_weights_are_followed_and_others_refused(folder: Path, place: str) -> None:
    shard = sorted(folder.glob("*.safetensors"))[0]
    target = folder.parent / place
    target.parent.mkdir(exist_ok=True)
    shard.replace(target)
    shard.symlink_to(target)
    if place == "secret":
        assert "links to something else" in refusal(lambda: Checkpoint.open(folder))
    else:
        opened = Checkpoint.open(folder)
        opened.verify(opened.dims)


def test_a_file_that_shrinks_after_opening(folder: Path) -> None:
    checkpoint = Checkpoint.open(folder)
    entry = checkpoint.entry(TALKER_HEAD)
    os.truncate(entry.path, entry.offset + 3)
    assert "fewer bytes" in refusal(lambda: checkpoint.tensor(TALKER_HEAD))


@pytest.mark.parametrize(
    "index",
    [{}, {"weight_map": {}}, {"weight_map": []}, {"weight_map": {"x": 5}},
     {"weight_map": {"x": "../elsewhere.safetensors"}}],
)  # fmt: skip
def test_damaged_index(folder: Path, index: dict[str, Any]) -> None:
    write_json(folder / "model.safetensors.index.json", index)
    assert "index of the weight files is damaged" in refusal(lambda: Checkpoint.open(folder))


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_damaged_config(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    message = refusal(lambda: Checkpoint.open(folder))
    assert "a JSON file is damaged" in message and "config.json" in message


def test_no_checkpoint(tmp_path: Path) -> None:
    assert "there is no checkpoint" in refusal(lambda: Checkpoint.open(tmp_path / "none"))
    assert "missing" in refusal(lambda: Checkpoint.open(tmp_path))
    write_json(tmp_path / "config.json", config_7b())
    assert "has no weights" in refusal(lambda: Checkpoint.open(tmp_path))


def test_generation_config_is_read(folder: Path) -> None:
    assert Checkpoint.open(folder).dims.tokens.eos == (1,)
    write_json(folder / "generation_config.json", {"eos_token_id": [3, 4]})
    assert Checkpoint.open(folder).dims.tokens.eos == (3, 4)


def test_json(folder: Path) -> None:
    checkpoint = Checkpoint.open(folder)
    assert checkpoint.json("config.json") == small_config()
    assert "missing" in refusal(lambda: checkpoint.json("other.json"))
