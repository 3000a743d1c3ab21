"""Reads the JSON files of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from omnijet.runtime.errors import OmnijetError


def read_json(path: Path) -> dict[str, Any]:
    """Reads a file that holds one JSON object.

    Raises:
        OmnijetError: The file is missing, unreadable, or holds something else.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
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
    except (ValueError, RecursionError) as error:
        raise OmnijetError(
            "a JSON file is damaged", where=path, got=error, fix="download the checkpoint again"
        ) from error
    if not isinstance(data, dict):
        raise OmnijetError(
            "a JSON file is damaged", where=path, expected="an object", got=type(data).__name__
        )
    return data
