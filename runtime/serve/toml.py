"""Settings as TOML: read from a file, and written so that they can be read again."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.bounded import BadFile, read_bounded
from omnijet.runtime.serve.config import ServeConfig
from omnijet.runtime.serve.settings import SETTINGS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MOST_BYTES = 1 << 20


def read_toml(path: Path) -> dict[str, Any]:
    """Reads a file of settings.

    Raises:
        OmnijetError: it cannot be read, is too large or no TOML.
    """
    try:
        return tomllib.loads(read_bounded(path, MOST_BYTES).decode("utf-8"))
    except OSError as error:
        got = error.strerror or str(error)
    except (BadFile, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        got = str(error)
    raise OmnijetError(
        "the file of settings cannot be read", where=path,
        expected="TOML, as --print-config has it", got=got,
    )  # fmt: skip


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
