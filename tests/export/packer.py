"""Packs float checkpoints as AutoAWQ and the GPTQ packers do.

It follows the description of the formats number by number and shares no code with the reader
under test.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

LAYERS = re.compile(
    r"(?P<part>thinker|talker)\.model\.layers\.\d+\.(?:self_attn|mlp)\.(?P<name>\w+)_proj\.weight"
)
AWQ_PLACES = (0, 2, 4, 6, 1, 3, 5, 7)
READS = {"q": "attention", "k": "attention", "v": "attention", "o": "o", "gate": "mlp",
         "up": "mlp", "down": "down"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recipe:
    """The format and the options of a packed checkpoint."""

    method: str
    group: int = 32
    bits: int = 4
    symmetric: bool = False
    second_format: bool = False
    # sorts input features by importance: "together" for projections of one activation, or "apart"
    sort: str = ""
    author: str = ""
    least_zero: int = 0
    parts: tuple[str, ...] = ("thinker",)

    def config(self) -> dict[str, Any]:
        if self.method == "awq":
            return {"quant_method": "awq", "bits": 4, "group_size": self.group,
                    "version": "gemm", "zero_point": True,
                    "modules_to_not_convert": ["visual"]}  # fmt: skip
        return {"quant_method": "gptq", "bits": self.bits, "group_size": self.group,
                "checkpoint_format": "gptq_v2" if self.second_format else "gptq",
                "desc_act": bool(self.sort), "sym": self.symmetric, "lm_head": False,
                "meta": {"quantizer": [self.author]}}  # fmt: skip


def pack_checkpoint(source: Path, target: Path, recipe: Recipe) -> dict[str, Tensor]:
    """Writes `target` and returns the float values of the packed layers by key."""
    target.mkdir()
    tensors: dict[str, Tensor] = {}
    for path in source.iterdir():
        if path.suffix == ".safetensors":
            tensors.update(load_file(path))
        elif path.name not in ("config.json", "model.safetensors.index.json"):
            shutil.copy(path, target)
    config = json.loads((source / "config.json").read_text())
    config["quantization_config"] = recipe.config()
    (target / "config.json").write_text(json.dumps(config))
    stands_for = {}
    for key in list(tensors):
        layer = LAYERS.fullmatch(key)
        if layer is None or layer["part"] not in recipe.parts:
            continue
        packed, stands_for[key] = pack(key, tensors.pop(key).float().numpy(), recipe)
        tensors.update({key.replace("weight", part): value for part, value in packed.items()})
    save_file(tensors, target / "model.safetensors")
    return stands_for


def pack(key: str, weight: Any, recipe: Recipe) -> tuple[Mapping[str, Tensor], Tensor]:
    """Packs weight f32[outputs, inputs] and returns the packed tensors and their float values."""
    outputs, inputs = weight.shape
    most = 2**recipe.bits - 1
    group_of = np.arange(inputs) // recipe.group
    if recipe.sort:
        layer, name = key.split(".")[3], LAYERS.fullmatch(key)["name"]  # type: ignore[index]
        seed = f"{layer} {READS[name] if recipe.sort == 'together' else name}".encode()
        importance = np.random.default_rng(list(seed)).permutation(inputs)
        group_of[importance] = np.arange(inputs) // recipe.group
    groups = inputs // recipe.group
    numbers = np.empty((inputs, outputs), np.int64)
    scales = np.empty((groups, outputs), np.float16)
    zeros = np.empty((groups, outputs), np.int64)
    for group in range(groups):
        block = weight.T[group_of == group]
        low, high = block.min(0).clip(max=0), block.max(0).clip(min=0)
        if recipe.symmetric:
            high = np.maximum(high, -low)
            low = -high
        scales[group] = (high - low) / most
        step = scales[group].astype(np.float32)
        zeros[group] = np.clip(np.round(-low / step), recipe.least_zero, most)
        if recipe.symmetric:
            zeros[group] = (most + 1) // 2
        numbers[group_of == group] = np.clip(np.round(block / step) + zeros[group], 0, most)
    floats = (numbers - zeros[group_of]) * scales[group_of].astype(np.float64)
    stored = {"scales": torch.from_numpy(scales)}
    if recipe.method == "awq":
        stored["qweight"] = columns(numbers, 4, AWQ_PLACES)
        stored["qzeros"] = columns(zeros, 4, AWQ_PLACES)
    else:
        stored["qweight"] = columns(numbers.T, recipe.bits).T.contiguous()
        stored["qzeros"] = columns(zeros, recipe.bits)
        if not recipe.second_format:
            ones = torch.tensor(0x01010101 if recipe.bits == 8 else 0x11111111, dtype=torch.int32)
            stored["qzeros"] = stored["qzeros"] - ones
        stored["g_idx"] = torch.from_numpy(group_of.astype(np.int32))
        if re.search(r"o_proj|mlp", key):
            stored["bias"] = torch.zeros(outputs, dtype=torch.float16)
    return stored, torch.from_numpy(floats.T.astype(np.float32))


def columns(numbers: Any, bits: int, places: tuple[int, ...] = tuple(range(8))) -> Tensor:
    """Packs [rows, n] into i32[rows, n * bits / 32]."""
    count = 32 // bits
    words = np.zeros((len(numbers), numbers.shape[1] // count), np.int64)
    for word in range(words.shape[1]):
        for place in range(count):
            words[:, word] |= numbers[:, word * count + places[place]] << bits * place
    return torch.from_numpy(words.astype(np.uint32).view(np.int32))
