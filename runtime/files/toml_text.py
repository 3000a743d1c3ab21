"""Reads small TOML files that people write."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.bounded import BadFile, read_bounded

MOST_BYTES = 1 << 20


def read_toml(path: Path, what: str, expected: str) -> dict[str, Any]:
    """Reads a file.

    Args:
        what: what the file is, for messages.
        expected: what such a file looks like, for messages.

    Raises:
        OmnijetError: it cannot be read, is too large or no TOML, or this Python reads no TOML.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ModuleNotFoundError as error:
            raise OmnijetError(
                f"{what} cannot be read: this Python has no reader of TOML", where=path,
                expected="Python 3.11 or newer, or the package tomli", fix="pip install tomli",
            ) from error  # fmt: skip
    try:
        return tomllib.loads(read_bounded(path, MOST_BYTES).decode("utf-8"))
    except OSError as error:
        got = error.strerror or str(error)
    except (BadFile, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        got = str(error)
    raise OmnijetError(f"{what} cannot be read", where=path, expected=expected, got=got)
