"""Writes a checkpoint in the form of transformers 5, as version 5.24 was seen to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

SINGLE = "model.safetensors"


def save_as_version_5(source: Path, target: Path) -> Path:
    """Rewrites the checkpoint `source` (one weight file) into `target`."""
    target.mkdir()
    for name in (
        "tokenizer.json",
        "tokenizer_config.json",
        "spk_dict.pt",
        "generation_config.json",
    ):
        if (source / name).exists():
            shutil.copy(source / name, target)
    tensors = load_file(source / SINGLE)
    kept = {key: value for key, value in tensors.items() if not key.endswith(".inv_freq")}
    save_file(kept, target / SINGLE)
    template = json.loads((source / "chat_template.json").read_text())["chat_template"]
    (target / "chat_template.jinja").write_text(template)
    flat = json.loads((source / "preprocessor_config.json").read_text())
    size = {"shortest_edge": flat.pop("min_pixels"), "longest_edge": flat.pop("max_pixels")}
    nested = {
        "feature_extractor": {**flat, "max_pixels": 1, "min_pixels": 1},
        "image_processor": {**flat, "size": size, "resample": 3},
        "video_processor": {**flat, "size": size, "do_sample_frames": False},
        "processor_class": "Qwen2_5OmniProcessor",
    }
    (target / "processor_config.json").write_text(json.dumps(nested))
    config = json.loads((source / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(_newer(config)))
    return target


def _newer(section: Any) -> Any:
    """Renames what version 5 renames."""
    if not isinstance(section, dict):
        return section
    made = {key: _newer(value) for key, value in section.items()}
    if "torch_dtype" in made:
        made["dtype"] = made.pop("torch_dtype")
    if "rope_scaling" in made:
        rope = made.pop("rope_scaling") or {}
        theta = made.pop("rope_theta", 1e6)
        made["rope_parameters"] = {**rope, "rope_type": "default", "rope_theta": theta}
    return made
