"""Settings as TOML: read from a file, and written so that they can be read again."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from omnijet.runtime.files import toml_text
from omnijet.runtime.serve.config import ServeConfig
from omnijet.runtime.serve.settings import SETTINGS


def read_toml(path: Path) -> dict[str, Any]:
    """Reads a file of settings.

    Raises:
        OmnijetError: it cannot be read, is too large or no TOML.
    """
    return toml_text.read_toml(path, "the file of settings", "TOML, as --print-config has it")


def to_toml(config: ServeConfig) -> str:
    """Returns all settings but the key as TOML, each below what it means."""
    lines = []
    for row in fields(config):
        setting, value = SETTINGS[row.name], getattr(config, row.name)
        lines.append(f"# {setting.facts['help']}")
        if setting.is_secret:
            state = "not set" if value is None else "set, and not shown"
            lines.append(f"# {row.name} is {state}; {setting.variable}, or api_key_file\n")
        elif value is None:
            lines.append(f"# {row.name} = \n")
        else:
            lines.append(f"{row.name} = {_value(value)}\n")
    return "\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
