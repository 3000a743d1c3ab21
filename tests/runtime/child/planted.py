"""Modules of a stranger, planted where a process might find them."""

from __future__ import annotations

import sys
from pathlib import Path

THIRD = ("PIL", "av", "jinja2", "ml_dtypes", "numpy", "onnx", "onnx_ir", "onnxruntime",
         "onnxscript", "ray", "rich", "soundfile", "soxr", "tensorrt", "tensorrt_rtx",
         "tensorrt_rtx_bindings", "tokenizers", "torch", "sitecustomize")  # fmt: skip
NAMES = sorted({*sys.stdlib_module_names, *THIRD, "usercustomize", "omnijet"})


def plant(folder: Path, names: list[str] = NAMES) -> Path:
    """Writes a module for each name; returns the file that one of them notes its name in."""
    mark = folder.with_name(f"{folder.name}.mark")
    code = f"with open({str(mark)!r}, 'a') as file:\n    file.write(__name__ + '\\n')\n"
    for name in names:
        (folder / f"{name}.py").write_text(code)
    return mark
