"""The world's tokenizer and the model's dimensions for training."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from omnijet.export.checkpoint.config import read_dims
from omnijet.export.synthetic.tokenizer import write_tokenizer
from omnijet.nano.config import config
from omnijet.nano.training.corpus import corpus
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.prompt.tokenizer import Tokenizer


def generation_config() -> dict[str, Any]:
    """Returns the content of `generation_config.json`."""
    thinker = config()["thinker_config"]
    eos, pad = thinker["eos_token_id"], thinker["pad_token_id"]
    return {"eos_token_id": [eos, pad], "pad_token_id": pad}


@lru_cache(maxsize=1)
def model_dims() -> ModelDims:
    return read_dims(config(), generation_config(), "nano")


@lru_cache(maxsize=1)
def tokenizer() -> Tokenizer:
    with tempfile.TemporaryDirectory() as folder:
        write_tokenizer(Path(folder), model_dims(), corpus())
        return Tokenizer(Path(folder) / "tokenizer.json")
