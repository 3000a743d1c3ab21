"""Adapters that PEFT itself writes and merges, for comparison."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import Qwen2_5OmniForConditionalGeneration

SPREAD = 0.05


def write_adapter(
    checkpoint: Path, folder: Path, seed: int, *, thinker: bool = False, **config: Any
) -> Path:
    """Makes a random adapter of a checkpoint, or of its Thinker alone, and saves it."""
    model = _model(checkpoint, thinker)
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuned = get_peft_model(model, LoraConfig(**config))
        for parameter in tuned.parameters():
            if parameter.requires_grad:  # fresh adapters change nothing: B is zero
                noise = torch.randn(parameter.shape) * SPREAD
                parameter.data = (parameter.data.float() + noise).to(parameter.dtype)
        # the whole model does not say which its embeddings are
        save = {} if thinker else {"save_embedding_layers": False}
        tuned.save_pretrained(str(folder), **save)
    return folder


def merged_by_peft(
    checkpoint: Path, folders: Sequence[Path], *, thinker: bool = False
) -> tuple[nn.Module, dict[str, Tensor]]:
    """Loads adapters as a user does and merges all of them.

    Returns:
        The merged model, and its weights by the keys of the whole model.
    """
    first, *others = folders
    model = _model(checkpoint, thinker)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuned = PeftModel.from_pretrained(model, str(first), adapter_name="0")
        for number, folder in enumerate(others, 1):
            tuned.load_adapter(str(folder), adapter_name=str(number))
        names = [str(number) for number in range(len(folders))]
        merged = tuned.merge_and_unload(adapter_names=names if others else None)
    prefix = "thinker." if thinker else ""
    return merged, {f"{prefix}{key}": value for key, value in merged.state_dict().items()}


def _model(checkpoint: Path, thinker: bool) -> Any:
    model = Qwen2_5OmniForConditionalGeneration.from_pretrained(checkpoint, dtype="auto")
    return model.thinker if thinker else model
