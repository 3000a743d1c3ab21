"""Reads the JSON files of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files import json_text
from omnijet.runtime.files.json_text import BadJson


def read_json(path: Path) -> dict[str, Any]:
    """Reads a file that holds one JSON object.

    Raises:
        OmnijetError: The file is missing, unreadable, or holds something else.
    """
    try:
        data = json_text.read_json(path)
    except FileNotFoundError:
        raise OmnijetError(
            "a file of the checkpoint is missing",
            where=path,
            expected=path.name,
            fix="download the checkpoint again",
        ) from None
    except OSError as error:
        raise OmnijetError(
            "a file of the checkpoint cannot be read", where=path, got=error.strerror
        ) from error
    except BadJson as error:
        raise OmnijetError(
            "a JSON file is damaged", where=path, got=error, fix="download the checkpoint again"
        ) from error
    if not isinstance(data, dict):
        raise OmnijetError(
            "a JSON file is damaged",
            where=path,
            expected="an object",
            got=type(data).__name__,
            fix="download the checkpoint again",
        )
    return data
