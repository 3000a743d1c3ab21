"""Reads the chat template of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

from omnijet.runtime.errors import OmnijetError

CHAT_TEMPLATES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")


def read_chat_template(source: Path) -> str:
    """Reads the chat template from the first file that has one.

    transformers keeps it in `chat_template.jinja`, `chat_template.json` or
    `tokenizer_config.json`.

    Raises:
        OmnijetError: A file is damaged, or none has a chat template.
    """
    plain = source / "chat_template.jinja"
    if plain.is_file():
        return plain.read_text(encoding="utf-8")
    for name in ("chat_template.json", "tokenizer_config.json"):
        path = source / name
        if not path.is_file():
            continue
        try:
            template = json.loads(path.read_text(encoding="utf-8")).get("chat_template")
        except (ValueError, AttributeError) as error:
            raise OmnijetError("a JSON file is damaged", where=path, got=error) from error
        if isinstance(template, str):
            return template
    raise OmnijetError(
        "the checkpoint has no chat template",
        where=source,
        expected="chat_template.jinja, chat_template.json or tokenizer_config.json with one",
        fix="download the checkpoint again",
    )
