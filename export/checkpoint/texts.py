"""Reads the chat template of a checkpoint."""

from __future__ import annotations

from pathlib import Path

from omnijet.export.checkpoint.json_file import read_json
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.bounded import BadFile, read_bounded_text

CHAT_TEMPLATES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")
MOST_BYTES = 1 << 20  # the published template has 1.5 kB


def read_chat_template(source: Path) -> str:
    """Reads the chat template from the first file that has one.

    transformers keeps it in `chat_template.jinja`, `chat_template.json` or
    `tokenizer_config.json`.

    Raises:
        OmnijetError: A file is damaged, or none has a chat template.
    """
    plain = source / "chat_template.jinja"
    if plain.is_file():
        return _plain(plain)
    for name in ("chat_template.json", "tokenizer_config.json"):
        path = source / name
        if not path.is_file():
            continue
        template = read_json(path).get("chat_template")
        if isinstance(template, str):
            return template
    raise OmnijetError(
        "the checkpoint has no chat template",
        where=source,
        expected="chat_template.jinja, chat_template.json or tokenizer_config.json with one",
        fix="download the checkpoint again",
    )


def _plain(path: Path) -> str:
    try:
        return read_bounded_text(path, MOST_BYTES)
    except (OSError, BadFile) as error:
        raise OmnijetError(
            "the chat template cannot be read",
            where=path,
            expected="a text in UTF-8",
            got=getattr(error, "strerror", None) or error,
            fix="download the checkpoint again",
        ) from error
