"""Who may import whom, and how long `import omnijet` takes."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "runtime": {"torch", "transformers", "onnx", "onnx_ir", "onnxscript", "safetensors",
                "huggingface_hub", "omnijet.export", "omnijet.quantization", "omnijet.engines",
                "omnijet.nano"},
    "export": {"transformers", "omnijet.quantization", "omnijet.engines", "omnijet.nano"},
    "quantization": {"torch", "transformers", "safetensors", "huggingface_hub"},
    # neither torch nor what the wheel leaves out
    "nano/world": {"torch", "transformers", "omnijet.export", "omnijet.nano.training",
                   "omnijet.nano.config"},
    "nano/evaluation": {"torch", "transformers", "omnijet.export", "omnijet.nano.training",
                        "omnijet.nano.config"},
}  # fmt: skip


def imports(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from ((name, node.lineno) for name in parents(alias.name))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield from ((name, node.lineno) for name in parents(node.module or ""))


def parents(module: str) -> list[str]:
    """`a.b.c` -> a, a.b, a.b.c."""
    parts = module.split(".")
    return [".".join(parts[: count + 1]) for count in range(len(parts))]


@pytest.mark.parametrize("package", FORBIDDEN)
def test_forbidden_imports(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    faults = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in files
        for name, line in imports(path)
        if name in FORBIDDEN[package]
    ]
    assert not faults


def test_the_check_itself_sees_a_forbidden_import(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("def f():\n    from torch.nn import Module\n")
    assert ("torch", 2) in set(imports(path))


def loaded_after(statement: str) -> set[str]:
    code = f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = json.loads(result.stdout.splitlines()[-1])
    return {parent for name in names for parent in parents(name)}


@pytest.mark.parametrize("module", ["omnijet.runtime.omni", "omnijet.runtime.commands.run"])
def test_the_whole_runtime_loads_without_heavy_packages(module: str) -> None:
    assert not loaded_after(f"import {module}") & FORBIDDEN["runtime"]


def test_importing_omnijet_is_quick_and_light() -> None:
    assert "numpy" not in loaded_after("import omnijet")
    code = "import time; t = time.perf_counter(); import omnijet; print(time.perf_counter() - t)"
    seconds = []
    for _ in range(3):
        result = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        seconds.append(float(result.stdout))
    assert min(seconds) < 0.5
