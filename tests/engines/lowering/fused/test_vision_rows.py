"""The vision encoder by blocks of rows computes the same as the canonical graph."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from omnijet.engines.lowering.constants import Constants
from omnijet.engines.lowering.cpu import DOMAIN, IntegerProducts
from omnijet.engines.lowering.flavours import FLAVOURS
from omnijet.engines.lowering.frame import Lowering
from omnijet.engines.lowering.fused.column_parts import ColumnParts
from omnijet.engines.lowering.fused.encoders import PatchAttention
from omnijet.engines.lowering.fused.row_loops import RowLoops
from omnijet.engines.targets.toolkits import Flavour
from omnijet.runtime.bundle.contract import Array, GraphContract
from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.model.vision_plan import plan
from tests.older import with_single_pictures
from tests.quantization.graphs import error, feeds, quantize, run

GRAPH = "vision_encoder"
GRIDS = [(2, 2), (10, 14), (26, 18), (16, 24)]
"""Rows and columns of patches: one cell, cut windows, more of them, full windows."""


def _passes(
    most: int, constants: Constants, contract: GraphContract
) -> Sequence[ir.passes.InPlacePass]:
    return (
        IntegerProducts(constants),
        PatchAttention(constants),
        ColumnParts(constants),
        RowLoops(constants, most),
    )


def _integers(constants: Constants, contract: GraphContract) -> Sequence[ir.passes.InPlacePass]:
    """Passes of the same integer products without a loop."""
    return (IntegerProducts(constants),)


def lowered(source: Path, contract: GraphContract, target: Path, most: int) -> ir.Graph:
    lowering = Lowering(partial(_passes, most), domains=(DOMAIN,))
    lowering(source, contract, target, 0, lambda count: None)
    return ir.load(target / source.name).graph


def picture(bundle: Path, grid: tuple[int, int], frames: int = 1) -> dict[str, Array]:
    dims = Manifest.read(bundle).dims.vision
    rows = np.random.default_rng(3).standard_normal(
        (frames, grid[0] * grid[1], dims.patch_width), dtype=np.float32
    )
    return plan(dims, *grid).feeds(*rows)


@pytest.mark.parametrize("most", [7, 64, 512])
def test_blocks_of_rows(trained: tuple[Path, Path], tmp_path: Path, most: int) -> None:
    """Blocks that padding fills, blocks that divide a picture, and a picture in one block."""
    contract = Manifest.read(trained[1]).contracts[GRAPH]
    source = trained[1] / "graphs" / f"{GRAPH}.onnx"
    graph = lowered(source, contract, tmp_path, most)
    dims = Manifest.read(trained[1]).dims.vision
    kinds = [node.op_type for node in graph]
    assert kinds.count("MultiHeadAttention") == dims.layers and "Attention" not in kinds
    assert kinds.count("Scan") == dims.layers + 1 and "Split" not in kinds
    clips = [picture(trained[1], grid, frames) for grid in GRIDS for frames in (1, 3)]
    for inputs in (*clips, feeds(contract)):
        wanted = run(source, inputs, optimize=False)
        for optimize in (False, True):
            found = run(tmp_path / source.name, inputs, optimize=optimize)
            assert error(found, wanted) < 1e-5, inputs["patches"].shape


def test_blocks_of_rows_in_integers(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """Products, biases and rounding to int8 are in the loops, too.

    The loops change nothing beside the same integer products in one piece. Those stand beside the
    Q/DQ graph, where a last bit decides which of two neighbours an activation is rounded to, and
    processors differ in it: there the bound is a tenth of what rounding to integers changes at all.
    """
    contract = Manifest.read(trained[1]).contracts[GRAPH]
    floats = trained[1] / "graphs" / f"{GRAPH}.onnx"
    quantize(floats, contract, tmp_path / "int8", "w8a8", True)
    source = tmp_path / "int8" / f"{GRAPH}.onnx"
    graph = lowered(source, contract, tmp_path, 64)
    whole = tmp_path / "whole"
    whole.mkdir()
    Lowering(_integers, domains=(DOMAIN,))(source, contract, whole, 0, lambda count: None)
    bodies = [node.attributes["body"].as_graph() for node in graph if node.op_type == "Scan"]
    inside = [node.op_type for body in bodies for node in body]
    # q, k, v, output, gate, up and down of each layer
    layers = Manifest.read(trained[1]).dims.vision.layers
    assert inside.count("MatMulIntegerToFloat") == 7 * layers
    for grid in GRIDS[1:]:
        inputs = picture(trained[1], grid)
        wanted = run(source, inputs, optimize=False)
        found = run(tmp_path / source.name, inputs, optimize=False)
        assert error(found, run(whole / source.name, inputs, optimize=False)) < 1e-6
        rounded = error(wanted, run(floats, inputs, optimize=False))
        assert error(found, wanted) < rounded / 10


@pytest.mark.parametrize(
    "flavour", ["fused-cpu", "fused-cuda", "decomposed-cpu", "decomposed", "native"]
)
def test_an_older_bundle_is_built_alike(
    trained: tuple[Path, Path], tmp_path: Path, flavour: Flavour
) -> None:
    """One picture in a call: keys and values are those of all patches."""
    older = with_single_pictures(trained[1], tmp_path / "older")
    contract = Manifest.read(older).contracts[GRAPH]
    FLAVOURS[flavour](older / "graphs" / f"{GRAPH}.onnx", contract, tmp_path, 0, lambda count: None)
    for grid in GRIDS:
        inputs = picture(trained[1], grid)
        wanted = run(trained[1] / "graphs" / f"{GRAPH}.onnx", inputs, optimize=False)
        del inputs["picture_rows"]
        found = run(tmp_path / f"{GRAPH}.onnx", inputs, optimize=False)
        assert error(found, wanted) < 2e-5, grid
