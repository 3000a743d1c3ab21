"""A lowered graph computes what the canonical one does, without what TensorRT refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.lowering import native
from runtime.contract import GraphContract
from runtime.manifest import Manifest
from tests.quantization.graphs import error, feeds, run


@pytest.mark.parametrize("graph", ["audio_encoder", "vision_encoder", "dit_step", "thinker_step"])
def test_a_lowered_graph_in_f32(trained: tuple[Path, Path], tmp_path: Path, graph: str) -> None:
    contract = Manifest.read(trained[1]).contracts[graph]
    source = trained[1] / "graphs" / f"{graph}.onnx"
    entry = native.lower(source, contract, tmp_path, 7, lambda count: None)
    inputs = feeds(contract)
    wanted = run(source, inputs, optimize=False)
    assert error(run(tmp_path / f"{graph}.onnx", inputs, optimize=False), wanted) < 1e-5
    assert entry.parameters == 7
    # no kernel of TensorRT attends in f32, so that all scores of a picture would be in memory
    assert ("Scan" in entry.ops) == (graph == "vision_encoder")
    assert "Attention" not in entry.ops


def test_attention_in_f16_stays(thinker_f16: tuple[Path, GraphContract], tmp_path: Path) -> None:
    source, contract = thinker_f16
    entry = native.lower(source, contract, tmp_path, 0, lambda count: None)
    assert entry.ops["Attention"] > 0 and "Softmax" not in entry.ops
