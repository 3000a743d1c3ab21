"""Reads a checkpoint's tokenizer, in a form that does not depend on who saved it.

transformers rewrites `tokenizer.json` when it saves a processor: absent prefixes become empty
ones, and a post-processor appears that adds no token. Such tokenizers give the same ids, so
their bundles shall be equal.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from omnijet.export.checkpoint.json_file import read_json
from omnijet.export.checkpoint.tokenizer_trial import try_tokenizer

_EMPTY_OR_NONE = ("continuing_subword_prefix", "end_of_word_suffix", "unk_token")


def read_tokenizer(path: Path) -> str:
    """Returns the text of `tokenizer.json` in its plain form.

    Raises:
        OmnijetError: The file is damaged, or the library does not stand it.
    """
    data = read_json(path)
    model = data.get("model")
    if isinstance(model, dict):
        model.update({key: None for key in _EMPTY_OR_NONE if model.get(key) == ""})
    if _adds_nothing(data.get("post_processor")):
        data["post_processor"] = None
    text = json.dumps(data, ensure_ascii=False, indent=2) + "\n"
    try_tokenizer(text, path)
    return text


def _adds_nothing(processor: Any) -> bool:
    """Returns whether a post-processor leaves the ids of a text as they are."""
    if not isinstance(processor, dict):
        return False
    kind = processor.get("type")
    if kind == "ByteLevel":  # it moves offsets, which nobody reads
        return True
    pieces = processor.get("single")
    return (
        kind == "TemplateProcessing"
        and isinstance(pieces, list)
        and len(pieces) == 1
        and "Sequence" in pieces[0]
    )
