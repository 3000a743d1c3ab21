"""TensorRT-RTX builds a quantized graph, where its bindings are installed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.rtx import build, has_bindings, lowered, must_build

PYTHON = os.environ.get("OMNIJET_RTX_PYTHON", sys.executable)


@pytest.mark.parametrize("precision", ["f16", "bf16"])
@pytest.mark.parametrize("kind", ["int4", "fp8"])
def test_a_quantized_graph_builds(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, precision: str
) -> None:
    if not has_bindings(PYTHON):
        pytest.skip("no tensorrt_rtx_bindings here: set OMNIJET_RTX_PYTHON, see tests/rtx.py")
    source, contract = request.getfixturevalue(f"thinker_{precision}")
    path = lowered(source, contract, kind, tmp_path)
    for target in ("SM86", "SM89"):
        verdict = build(path, contract, target, PYTHON)
        assert verdict["built"] == must_build(kind, target), (target, verdict)
