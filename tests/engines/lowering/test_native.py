"""A lowered graph computes the same as the canonical one, without what TensorRT refuses."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest

from omnijet.engines.lowering import native
from omnijet.engines.lowering.flavours import flavour_for
from omnijet.engines.targets.target import TARGETS
from omnijet.runtime.bundle.contract import GraphContract
from omnijet.runtime.bundle.manifest import Manifest
from tests.quantization.graphs import SIZES, error, feeds, quantize, run

CLIP = {**SIZES, "cells": 66, "windows": 12, "pictures": 3, "picture_cells": 22}


@pytest.mark.parametrize("graph", ["audio_encoder", "vision_encoder", "dit_step", "thinker_step"])
def test_a_lowered_graph_in_f32(trained: tuple[Path, Path], tmp_path: Path, graph: str) -> None:
    contract = Manifest.read(trained[1]).contracts[graph]
    source = trained[1] / "graphs" / f"{graph}.onnx"
    entry = native.lower(source, contract, tmp_path, 7, lambda count: None)
    for sizes in (SIZES, CLIP):
        inputs = feeds(contract, sizes=sizes)
        wanted = run(source, inputs, optimize=False)
        assert error(run(tmp_path / f"{graph}.onnx", inputs, optimize=False), wanted) < 1e-5
    assert entry.parameters == 7
    # TensorRT has no fused attention in f32, so all scores of a picture would be stored
    assert ("Scan" in entry.ops) == (graph == "vision_encoder")
    assert "Attention" not in entry.ops


def test_pictures_in_f16_are_joined(trained_f16: tuple[Path, Path], tmp_path: Path) -> None:
    """Each picture attends to itself alone, in one Attention for all of them."""
    manifest = Manifest.read(trained_f16[1])
    contract = manifest.contracts["vision_encoder"]
    source = trained_f16[1] / "graphs" / "vision_encoder.onnx"
    entry = native.lower(source, contract, tmp_path, 0, lambda count: None)
    assert "Scan" not in entry.ops and entry.ops["Attention"] == manifest.dims.vision.layers
    for sizes in (SIZES, CLIP):
        inputs = feeds(contract, sizes=sizes)
        wanted = run(source, inputs, optimize=False)
        assert error(run(tmp_path / source.name, inputs, optimize=False), wanted) < 2e-3


@pytest.mark.parametrize(("target", "blocks"), [("cuda-ada", 0), ("rtx-ada", 20)])
def test_weights_of_8_bits_in_blocks(
    thinker_f16: tuple[Path, GraphContract], tmp_path: Path, target: str, blocks: int
) -> None:
    """TensorRT has blocks for FP4, FP8 and INT4 only, TensorRT-RTX for INT8 too."""
    source, contract = thinker_f16
    quantize(source, contract, tmp_path / "graphs", "int8", True)
    source = tmp_path / "graphs" / source.name
    flavour_for(TARGETS[target])(source, contract, tmp_path, 0, lambda count: None)
    found = [node for node in ir.load(tmp_path / source.name).graph
             if node.op_type == "DequantizeLinear" and "block_size" in node.attributes]  # fmt: skip
    assert len(found) >= blocks and bool(found) == bool(blocks)
    inputs = feeds(contract)
    wanted = run(source, inputs, optimize=False)
    assert error(run(tmp_path / source.name, inputs, optimize=False), wanted) < 2e-3


def test_attention_in_f16_stays(thinker_f16: tuple[Path, GraphContract], tmp_path: Path) -> None:
    source, contract = thinker_f16
    entry = native.lower(source, contract, tmp_path, 0, lambda count: None)
    assert entry.ops["Attention"] > 0 and "Softmax" not in entry.ops
