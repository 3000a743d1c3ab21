"""The first conversations of the built-in set; the first four are one of each kind."""

from __future__ import annotations

import zipfile
from pathlib import Path

from omnijet.quantization.calibration.conversations import LINES, NANO


def few_conversations(folder: Path, count: int) -> Path:
    """Writes a JSONL file with `count` conversations, and their media beside it."""
    with zipfile.ZipFile(NANO) as file:
        file.extractall(folder)
    few = folder / "few.jsonl"
    lines = (folder / LINES).read_text(encoding="utf-8").splitlines()
    few.write_text("\n".join(lines[:count]) + "\n", encoding="utf-8")
    return few
