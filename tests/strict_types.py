"""What `mypy --strict` says of files that use omnijet as a user does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mypy import api

ROOT = Path(__file__).parent.parent


def check_types(paths: Sequence[Path], folder: Path) -> tuple[str, int]:
    """Returns what mypy prints, and its exit code. Its cache goes into `folder`."""
    config = ("--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(folder / "cache"))
    # `silent`: the faults of the files alone count, not those of omnijet itself
    out, faults, code = api.run([*config, "--follow-imports", "silent", *map(str, paths)])
    return out + faults, code
