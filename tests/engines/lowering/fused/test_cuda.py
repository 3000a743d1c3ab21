"""Graphs lowered for CUDA compute the same as canonical ones, with fewer kernels.

ONNX Runtime's CPU provider has all their operators, so that no GPU is needed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from omnijet.engines.lowering.fused import cuda
from omnijet.runtime.bundle.contract import GraphContract
from omnijet.runtime.bundle.manifest import GraphEntry, Manifest
from omnijet.runtime.model.vision_plan import plan
from tests.engines.lowering.fused.steps import Stepper, converse
from tests.quantization.graphs import error, feeds, quantize, run
from tools.bench.kernels import canonical, host_values, launching

STEPS = ("thinker_step", "talker_step")
OTHERS = ("audio_encoder", "vision_encoder", "dit_step", "vocoder")
LIMITS = {"f32": 2e-5, "f16": 5e-3}
"""Of error relative to the canonical output: roundings of the last bit, through all layers."""


def lowered(
    bundle: Path, graph: str, folder: Path, kind: str = "none", layers: slice = slice(None)
) -> tuple[GraphContract, Path, Path, GraphEntry]:
    """Returns (contract, canonical file, lowered file, entry of the lowered graph)."""
    contract = Manifest.read(bundle).contracts[graph]
    source = bundle / "graphs" / f"{graph}.onnx"
    if kind != "none":
        quantize(source, contract, folder / "canonical", kind, True, layers)
        source = folder / "canonical" / f"{graph}.onnx"
    entry = cuda.lower(source, contract, folder / "lowered", 7, lambda count: None)
    return contract, source, folder / "lowered" / f"{graph}.onnx", entry


@pytest.mark.parametrize("graph", STEPS)
@pytest.mark.parametrize("bundle", ["trained_f16", "nano_f16"])
def test_a_conversation_in_16_bits(
    request: pytest.FixtureRequest, tmp_path: Path, bundle: str, graph: str
) -> None:
    found = request.getfixturevalue(bundle)
    folder: Path = found if isinstance(found, Path) else found[1]
    contract, source, path, entry = lowered(folder, graph, tmp_path)
    layers = len(contract.state) // 2
    assert entry.ops["GroupQueryAttention"] == entry.ops["QuickGelu"] == layers
    assert entry.ops["SkipSimplifiedLayerNormalization"] == 2 * layers
    assert "RotaryEmbedding" not in entry.ops and "Attention" not in entry.ops
    steppers = Stepper(source, contract, optimize=False), Stepper(path, contract)
    for wanted, found_ in converse(steppers, contract):
        assert error(found_, wanted) < LIMITS["f16"]


@pytest.mark.parametrize(("kind", "limit"), [("int4", 5e-3), ("int8", 5e-3), ("w8a8", 0.03)])
def test_a_quantized_conversation(
    trained_f16: tuple[Path, Path], tmp_path: Path, kind: str, limit: float
) -> None:
    """A last bit in f16 decides how an 8-bit activation is rounded, in every layer again."""
    layers = slice(0, 2) if kind == "w8a8" else slice(None)
    contract, source, path, entry = lowered(trained_f16[1], STEPS[1], tmp_path, kind, layers)
    assert entry.ops["MatMulNBits"] > 1
    assert ("DequantizeLinear" in entry.ops) == (kind == "w8a8")  # of activations
    steppers = Stepper(source, contract, optimize=False), Stepper(path, contract)
    for wanted, found in converse(steppers, contract):
        assert error(found, wanted) < limit


@pytest.mark.parametrize("kind", ["none", "w8a8"])
@pytest.mark.parametrize("graph", OTHERS)
def test_other_graphs(
    trained_f16: tuple[Path, Path], tmp_path: Path, graph: str, kind: str
) -> None:
    half = graph.endswith("encoder")
    layers = slice(0, 2) if half and kind == "w8a8" else slice(None)
    if (graph, kind) == ("vocoder", "w8a8"):
        pytest.skip("it has no products with weights")
    contract, source, path, entry = lowered(trained_f16[1], graph, tmp_path, kind, layers)
    assert ("MatMulNBits" in entry.ops) == (kind == "w8a8")
    inputs = feeds(contract)
    limit = 0.03 if kind == "w8a8" else LIMITS["f16" if half else "f32"]
    wanted = run(source, inputs, optimize=False)
    assert error(run(path, inputs, optimize=True), wanted) < limit


@pytest.mark.parametrize("bundle", ["trained", "trained_f16", "nano_f16"])
def test_pictures_of_a_clip(request: pytest.FixtureRequest, tmp_path: Path, bundle: str) -> None:
    """One operator attends within all windows, or all pictures; nothing loops over blocks."""
    found = request.getfixturevalue(bundle)
    folder: Path = found if isinstance(found, Path) else found[1]
    dims = Manifest.read(folder).dims.vision
    _, source, path, entry = lowered(folder, "vision_encoder", tmp_path)
    assert entry.ops["MultiHeadAttention"] == dims.layers
    assert not entry.ops.keys() & {"Scan", "Attention"}
    random = np.random.default_rng(0)
    for frames, grid in ((1, (10, 14)), (3, (10, 14)), (2, (26, 18)), (5, (2, 2))):
        shape = (frames, grid[0] * grid[1], dims.patch_width)
        inputs = plan(dims, *grid).feeds(*random.standard_normal(shape, np.float32))
        wanted = run(source, inputs, optimize=False)
        limit = LIMITS["f32" if bundle == "trained" else "f16"]
        assert error(run(path, inputs, optimize=True), wanted) < limit


def test_a_picture_launches_fewer_kernels(trained_f16: tuple[Path, Path], tmp_path: Path) -> None:
    _, source, path, _ = lowered(trained_f16[1], "vision_encoder", tmp_path)
    graphs = canonical(source), ir.load(path).graph
    before, after = (len(launching(one)) for one in graphs)
    loops = [node for node in launching(graphs[0]) if node.op_type == "Scan"]
    assert loops and after < before


def test_floats_of_32_bits_keep_their_attention(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """CUDA has that operator in 16 bits only."""
    contract, source, path, entry = lowered(trained[1], "talker_step", tmp_path)
    assert entry.ops["Attention"] == entry.ops["QuickGelu"] == len(contract.state) // 2
    steppers = Stepper(source, contract), Stepper(path, contract)
    for wanted, found in converse(steppers, contract):
        assert error(found, wanted) < LIMITS["f32"]


def test_a_step_launches_fewer_kernels(trained_f16: tuple[Path, Path], tmp_path: Path) -> None:
    _, source, path, _ = lowered(trained_f16[1], "thinker_step", tmp_path)
    before, after = (len(launching(one)) for one in (canonical(source), ir.load(path).graph))
    assert after < 0.65 * before


def test_the_host_passes_shapes_alone(trained_f16: tuple[Path, Path], tmp_path: Path) -> None:
    """A number that a kernel reads from the host would be copied, and no step with a copy is
    captured for replay. The runtime's own numbers, such as `write_index`, are on the device.
    """
    *_, path, _ = lowered(trained_f16[1], "thinker_step", tmp_path)
    graph = ir.load(path).graph
    on_host = host_values(graph)
    taken = {
        (node.op_type, place)
        for node in launching(graph)
        for place, value in enumerate(node.inputs)
        if value in on_host
    }
    # these take such an input from the host's memory
    assert taken == {
        ("GroupQueryAttention", 6), ("ConstantOfShape", 0), ("Slice", 1), ("Slice", 2),
    }  # fmt: skip
    assert len(on_host) < 10
