"""Tests of synthetic checkpoints: real layout, live activations, same bytes for one seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoTokenizer, Qwen2_5OmniForConditionalGeneration

from omnijet.export.checkpoint.folder import Checkpoint
from omnijet.export.synthetic.checkpoint import write_checkpoint
from omnijet.export.synthetic.presets import preset
from omnijet.export.synthetic.weight_rules import outlier_channels
from omnijet.runtime.bundle.manifest import hash_file
from omnijet.runtime.prompt.tokenizer import Tokenizer
from tests.reference import load_reference

TEXTS = (
    "Hello there",
    "a  b\n\nc\t",
    "Grüße, 你好 🙂",
    "<|im_start|>user\n<|AUDIO|>",
    "don't 123,456",
)


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hash_file(path).sha256 for path in folder.iterdir()}


def test_the_reference_finds_every_weight_and_no_other(nano_7b: tuple[Path, Path]) -> None:
    # the model's own from_pretrained returns no report, but its parent's does
    omni = Qwen2_5OmniForConditionalGeneration
    _, found = super(omni, omni).from_pretrained(
        nano_7b[0], dtype=torch.float32, output_loading_info=True
    )
    assert not found["missing_keys"] and not found["mismatched_keys"]
    assert not found["unexpected_keys"]


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    folders = [
        write_checkpoint(tmp_path / name, preset("nano"), seed=seed)
        for name, seed in (("a", 5), ("b", 5), ("c", 6))
    ]
    first, again, other = (hashes(folder) for folder in folders)
    assert first == again
    assert first["config.json"] == other["config.json"]
    assert first["model-00001-of-00001.safetensors"] != other["model-00001-of-00001.safetensors"]


def test_many_shards_hold_the_same_tensors(nano: tuple[Path, Path], tmp_path: Path) -> None:
    limit = 1_000_000
    folder = write_checkpoint(tmp_path / "split", preset("nano"), seed=1, shard_bytes=limit)
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 5
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == {path.name for path in shards}
    whole = Checkpoint.open(nano[0])
    for path in shards:
        with safe_open(path, "pt") as shard:
            keys = list(shard.keys())
            assert len(keys) == 1 or path.stat().st_size < 1.2 * limit
            for key in keys:
                assert torch.equal(shard.get_tensor(key), whole.tensor(key)), key


def test_activations_stay_alive_with_outliers_through_all_layers(nano: tuple[Path, Path]) -> None:
    model = load_reference(nano[0])
    spreads: list[float] = []
    extremes: list[int] = []

    def watch(module: torch.nn.Module, given: Any, result: Any) -> None:
        stream = result[0] if isinstance(result, tuple) else result
        assert torch.isfinite(stream).all()
        spreads.append(float(stream.flatten().median().abs() + stream.std()))
        extremes.append(int(stream.abs().amax(dim=tuple(range(stream.ndim - 1))).argmax()))

    for layer in model.thinker.model.layers:
        layer.register_forward_hook(watch)
    with torch.no_grad():
        logits = model.thinker(input_ids=torch.arange(40)[None]).logits[0]
    assert len(spreads) == len(model.thinker.model.layers)
    assert all(0.3 < spread < 100 for spread in spreads)
    assert set(extremes[2:]) <= set(outlier_channels(model.thinker.config.text_config.hidden_size))
    assert 1 < float(logits.std()) < 10
    assert len(set(logits.argmax(-1).tolist())) > 10


@pytest.mark.parametrize("text", TEXTS)
def test_our_tokenizer_reads_the_files_like_the_references(
    nano: tuple[Path, Path], text: str
) -> None:
    theirs = AutoTokenizer.from_pretrained(nano[0])
    ours = Tokenizer(nano[0] / "tokenizer.json")
    assert ours.encode(text) == theirs(text).input_ids
