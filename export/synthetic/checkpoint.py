"""Writes synthetic checkpoints of any dimensions.

Names, shapes, dtypes and files are those of a real checkpoint; values are random, with
realistic statistics and reproducible by seed.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from omnijet.export.checkpoint.config import read_dims
from omnijet.export.checkpoint.tensor_layout import TensorLayout, checkpoint_layout
from omnijet.export.synthetic.tokenizer import write_tokenizer
from omnijet.export.synthetic.weight_rules import MEL_MEAN, dit_frequencies, outlier_channels, rule
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.files.staging import staged_folder

SHARD_BYTES = 5_000_000_000  # the size of published shards
BLOCK_VALUES = 1 << 22
STORED = {"bf16": ("BF16", torch.bfloat16), "f32": ("F32", torch.float32)}
REF_MEL_FRAMES = 400
VOICES = {"Ethan": 0, "Chelsie": 2}  # name -> offset of its opening id, as published
REAL_VOICE_IDS = 151870
VOICE_OFFSET = 20  # from the first special id of a tiny vocabulary

Progress = Callable[[int, int], None]
"""Receives (bytes done, total bytes)."""


def write_checkpoint(
    folder: Path,
    config: dict[str, Any],
    *,
    seed: int,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Writes a checkpoint with little memory at any size.

    Args:
        folder: The folder to write, which must not exist.
        config: A `config.json`, for example from `omnijet.export.synthetic.presets`.
        seed: The seed; the same seed gives the same bytes.
        shard_bytes: The largest number of weight bytes in one file.
        progress: Receives the bytes done and the total bytes.

    Returns:
        The folder.

    Raises:
        OmnijetError: The folder exists, or the disk lacks space.
    """
    generation = {"eos_token_id": _eos(config), "pad_token_id": _pad(config)}
    dims = read_dims(config, generation, "synthetic")
    layout = checkpoint_layout(dims)
    total = sum(_bytes(entry) for entry in layout.values())
    with staged_folder(folder, replace=False, needed_bytes=total) as staging:
        _write_json(staging / "config.json", config)
        _write_json(staging / "generation_config.json", generation)
        _write_json(staging / "preprocessor_config.json", PREPROCESSOR)
        write_tokenizer(staging, dims)
        torch.save(_voices(dims, seed), staging / "spk_dict.pt")
        _write_shards(staging, dims, layout, seed, shard_bytes, progress)
    return folder


PREPROCESSOR: dict[str, Any] = {
    "chunk_length": 300,
    "dither": 0.0,
    "feature_extractor_type": "WhisperFeatureExtractor",
    "feature_size": 128,
    "hop_length": 160,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_processor_type": "Qwen2VLImageProcessor",
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "max_pixels": 12845056,
    "merge_size": 2,
    "min_pixels": 3136,
    "n_fft": 400,
    "n_samples": 4800000,
    "nb_max_frames": 30000,
    "padding_side": "right",
    "padding_value": 0.0,
    "patch_size": 14,
    "processor_class": "Qwen2_5OmniProcessor",
    "return_attention_mask": True,
    "sampling_rate": 16000,
    "temporal_patch_size": 2,
}


def _write_shards(
    folder: Path,
    dims: ModelDims,
    layout: dict[str, TensorLayout],
    seed: int,
    shard_bytes: int,
    progress: Progress,
) -> None:
    shards = _plan(layout, shard_bytes)
    total = sum(_bytes(entry) for entry in layout.values())
    done = 0
    weight_map = {}
    for number, keys in enumerate(shards, start=1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        weight_map.update(dict.fromkeys(keys, name))
        with open(folder / name, "wb") as file:
            _write_header(file, {key: layout[key] for key in keys})
            for key in keys:
                for block in _values(key, layout[key], dims, seed):
                    file.write(memoryview(block.view(torch.uint8).numpy()))  # type: ignore[arg-type]
                    done += block.numel() * block.element_size()
                    progress(done, total)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    _write_json(folder / "model.safetensors.index.json", index)


def _plan(layout: dict[str, TensorLayout], shard_bytes: int) -> list[list[str]]:
    """Distributes keys to shards in order; only a tensor that is alone may exceed the limit."""
    shards: list[list[str]] = []
    room = 0
    for key, entry in layout.items():
        if not shards or _bytes(entry) > room:
            shards.append([])
            room = shard_bytes
        shards[-1].append(key)
        room -= _bytes(entry)
    return shards


def _write_header(file: BinaryIO, layout: dict[str, TensorLayout]) -> None:
    """Writes the safetensors header: its length, then JSON with padding that aligns the data."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for key, entry in layout.items():
        size = _bytes(entry)
        header[key] = {
            "dtype": STORED[entry.dtype][0],
            "shape": list(entry.shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 64 + 56)  # the 8 bytes of length precede the text
    file.write(len(text).to_bytes(8, "little"))
    file.write(text)


def _values(key: str, entry: TensorLayout, dims: ModelDims, seed: int) -> Iterator[Tensor]:
    """Yields the flat values of one tensor, block by block, in the stored dtype."""
    stored = STORED[entry.dtype][1]
    if key.endswith("rotary_embed.inv_freq"):
        yield torch.tensor(dit_frequencies(dims)).bfloat16().to(stored)
        return
    weight_rule = rule(key, entry.shape)
    generator = torch.Generator().manual_seed(zlib.crc32(key.encode(), seed))
    row = entry.numel // entry.shape[0]
    rows = max(1, BLOCK_VALUES // row)
    outliers = outlier_channels(dims.thinker.hidden) if weight_rule.outliers != 1.0 else []
    never_drawn = _never_drawn(dims) if key == "talker.codec_head.weight" else ()
    for start in range(0, entry.shape[0], rows):
        count = min(rows, entry.shape[0] - start)
        block = torch.empty(count, row).normal_(
            weight_rule.mean, weight_rule.std, generator=generator
        )
        for channel in outliers:
            if start <= channel < start + count:
                block[channel - start] *= weight_rule.outliers
        for channel in never_drawn:
            if start <= channel < start + count:
                block[channel - start] = 0
        yield block.to(stored).reshape(-1)


def _never_drawn(dims: ModelDims) -> list[int]:
    """Lists the codec ids that stand neither for sound nor for an end.

    A trained Talker never draws them, and the reference fails on ids that its codec table
    lacks.
    """
    sounds = dims.dit.codec_rows - 2
    return [token for token in range(sounds, dims.talker.vocab) if token not in dims.codec.ends]


def _voices(dims: ModelDims, seed: int) -> dict[str, dict[str, Any]]:
    """Draws random speakers in the format of `spk_dict.pt`."""
    generator = torch.Generator().manual_seed(zlib.crc32(b"spk_dict", seed))
    real = dims.tokens.audio > VOICE_OFFSET * 1000
    first = REAL_VOICE_IDS if real else dims.tokens.pad + VOICE_OFFSET
    voices = {}
    for name, offset in VOICES.items():
        mel = torch.randn(1, REF_MEL_FRAMES, dims.dit.mel, generator=generator)
        voices[name] = {
            "bos_token": first + offset,
            "cond": torch.randn(1, dims.dit.speaker_cond, generator=generator),
            "ref_mel": MEL_MEAN + 2 * mel,
        }
    return voices


def _eos(config: dict[str, Any]) -> list[int]:
    thinker = config["thinker_config"]
    return [thinker["eos_token_id"], thinker["pad_token_id"]]


def _pad(config: dict[str, Any]) -> int:
    pad: int = config["thinker_config"]["pad_token_id"]
    return pad


def _bytes(entry: TensorLayout) -> int:
    return entry.numel * STORED[entry.dtype][1].itemsize


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
