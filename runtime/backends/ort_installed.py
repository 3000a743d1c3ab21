"""Which graphs the installed ONNX Runtime runs on the CPU."""

from __future__ import annotations

import sys
from pathlib import Path

import onnxruntime

from omnijet.runtime.backends.ort_release import (
    NEWER,
    OLDER,
    OLDEST_TEXT,
    is_new_enough,
    target_of,
)
from omnijet.runtime.bundle.folder import rebuild_command
from omnijet.runtime.errors import OmnijetError

PYTHON, NEEDS_PYTHON = sys.version_info[:2], (3, 11)
"""This Python, and the oldest that has a release for canonical graphs."""


def reads_graphs() -> bool:
    """Returns whether this onnxruntime runs the canonical graphs of a bundle. No onnxruntime for
    Python 3.10 does: there run engines, or graphs that were built for it.
    """
    return is_new_enough(onnxruntime.__version__)


def cpu_target() -> str:
    """Returns the target whose built graphs this onnxruntime takes, or would if it were newer."""
    return target_of(onnxruntime.__version__) or OLDER


def require_release(folder: Path | None = None) -> None:
    """Raises `OmnijetError` if this onnxruntime is too old for canonical graphs.

    Args:
        folder: the bundle, for the command that builds others.
    """
    if reads_graphs():
        return
    if target_of(onnxruntime.__version__) is None or PYTHON >= NEEDS_PYTHON:
        fix = "`pip install -U onnxruntime`"
    else:
        command = rebuild_command(Path("BUNDLE") if folder is None else folder, NEWER)
        fix = (
            f'build graphs for it: `{command}` (needs `pip install "omnijet[quantize]"`); or copy '
            f"the bundle from a PC where you built it with --target {OLDER}; or run engines "
            "(--engines T)"
        )
    raise OmnijetError(
        "this onnxruntime is too old for the graphs of a bundle (opset 24)",
        expected=f"onnxruntime {OLDEST_TEXT} or newer, or graphs built for an older one",
        got=f"onnxruntime {onnxruntime.__version__}",
        fix=fix,
    )
