"""The contract: what is derived from it, and graph files that differ from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from omnijet.export.checkpoint.config import read_dims
from omnijet.export.synthetic.presets import preset
from omnijet.runtime.backends.ort_cpu import OrtBackend, declared
from omnijet.runtime.bundle.contract import (
    AXES,
    GraphContract,
    Precision,
    TensorSpec,
    graph_contracts,
    split_axis,
    verify,
    widened,
)
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.errors import ContractError, OmnijetError


@pytest.fixture(scope="module")
def dims() -> ModelDims:
    return read_dims(preset("nano"), None, "nano")


def test_dims_survive_json(dims: ModelDims) -> None:
    assert ModelDims.from_json(dims.to_json()) == dims


@pytest.mark.parametrize("precision", ["f16", "bf16"])
def test_every_state_output_feeds_an_input_of_the_same_shape(
    dims: ModelDims, precision: Precision
) -> None:
    contracts = graph_contracts(dims, precision)
    assert len(contracts["thinker_step"].state) == 2 * dims.thinker.layers
    assert len(contracts["talker_step"].state) == 2 * dims.talker.layers
    for contract in contracts.values():
        for pair in contract.state:
            assert (
                contract.input(pair.input).dtype == contract.output(pair.output).dtype == precision
            )


def test_bits_of_bf16_are_widened_exactly() -> None:
    bits = np.arange(2**16).astype(np.uint16)
    expected = torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(widened(bits), expected)  # NaN where it is NaN
    assert widened(bits[7]).dtype == widened(bits).dtype == np.float32
    halves = np.float16([0.1, -3])
    assert widened(halves).tolist() == halves.astype(np.float32).tolist()


def test_shapes_follow_the_symbols(dims: ModelDims) -> None:
    vision = graph_contracts(dims, "f32")["vision_encoder"]
    sizes = {"cells": 6, "windows": 2}
    assert vision.input("patches").shape(sizes) == (24, dims.vision.patch_width)
    assert vision.output("features").shape(sizes) == (6, dims.vision.out)
    assert split_axis("4*cells") == (4, "cells")
    assert set(vision.symbols) == {"cells", "windows", "pictures", "picture_cells"} <= set(AXES)
    older = graph_contracts(dims, "f32", joins_pictures=False)["vision_encoder"]
    assert older.inputs == vision.inputs[:-1] and set(older.symbols) == {"cells", "windows"}


def test_an_undeclared_axis_is_refused() -> None:
    with pytest.raises(AssertionError, match="bananas"):
        GraphContract("g", (TensorSpec("x", "f32", ("bananas",)),), ())


def small_graph(path: Path, outputs: list[onnx.ValueInfoProto]) -> None:
    """Returns a graph from mel [1, 80, frames] to wave that has the right boundary alone."""
    mel = helper.make_tensor_value_info("mel", TensorProto.FLOAT, [1, 80, "frames"])
    nodes = [helper.make_node("Cast", ["mel"], [outputs[0].name], to=TensorProto.FLOAT)]
    graph = helper.make_graph(nodes, "vocoder", [mel], outputs)
    opsets = [helper.make_opsetid("", 24)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=11), path)


TOY = GraphContract(
    "vocoder",
    (TensorSpec("mel", "f32", (1, 80, "frames")),),
    (TensorSpec("wave", "f32", (1, 80, "frames")),),
)


def test_a_graph_that_keeps_its_contract_loads(tmp_path: Path) -> None:
    path = tmp_path / "vocoder.onnx"
    small_graph(path, [helper.make_tensor_value_info("wave", TensorProto.FLOAT, [1, 80, "frames"])])
    graph = OrtBackend(threads=1).load(path, TOY)
    bound = graph.bind({"frames": 3})
    bound.inputs["mel"][...] = 2.5
    bound.run()
    assert (bound.outputs["wave"] == 2.5).all()


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (("wave", TensorProto.FLOAT, [1, 80, "rows"]), "f32[1, 80, frames], got f32[1, 80, rows]"),
        (("wave", TensorProto.FLOAT, [1, 81, "frames"]), "got f32[1, ?, frames]"),
        (("sound", TensorProto.FLOAT, [1, 80, "frames"]), "f32[1, 80, frames], got nothing"),
        (("sound", TensorProto.FLOAT, [1, 80, "frames"]), "sound: not in the contract"),
    ],
)  # fmt: skip
def test_a_drifted_graph_is_refused(tmp_path: Path, output: tuple, said: str) -> None:
    path = tmp_path / "vocoder.onnx"
    small_graph(path, [helper.make_tensor_value_info(*output)])
    with pytest.raises(ContractError) as caught:
        OrtBackend(threads=1).load(path, TOY)
    message = str(caught.value)
    for part in ("graph vocoder", f"where:    {path}", "expected: ", "got: ", "fix: ", said):
        assert part in message


def test_unloadable_file_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "vocoder.onnx"
    path.write_bytes(b"not a graph")
    with pytest.raises(OmnijetError, match="cannot be loaded"):
        OrtBackend(threads=1).load(path, TOY)
    with pytest.raises(OmnijetError, match="cannot be loaded"):
        declared(path, "vocoder")


def test_a_graph_without_kernels_tells_its_boundary(tmp_path: Path) -> None:
    wave = helper.make_tensor_value_info("wave", TensorProto.FLOAT, [1, 80, "frames"])
    path = tmp_path / "vocoder.onnx"
    small_graph(path, [wave])
    verify(TOY, *declared(path, "vocoder"), path)
    shape = [1, 80, "frames"]
    made = {
        name: helper.make_tensor_value_info(name, TensorProto.BFLOAT16, shape)
        for name in ("mel", "wave")
    }
    nodes = [helper.make_node("Attention", ["mel"] * 3, ["wave"], q_num_heads=1, kv_num_heads=1)]
    graph = helper.make_graph(nodes, "vocoder", [made["mel"]], [made["wave"]])
    opsets = [helper.make_opsetid("", 24)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=11), path)
    with pytest.raises(ContractError, match=r"got bf16\[1, 80, frames\]"):
        verify(TOY, *declared(path, "vocoder"), path)
    with pytest.raises(OmnijetError, match="NOT_IMPLEMENTED"):
        OrtBackend(threads=1).load(path, TOY)


def test_dims_are_frozen(dims: ModelDims) -> None:
    with pytest.raises(AttributeError):
        dims.thinker.layers = 3  # type: ignore[misc]


def test_an_old_onnxruntime_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", "1.23.2")
    with pytest.raises(OmnijetError, match="too old") as caught:
        OrtBackend()
    assert "1.23.2" in str(caught.value) and "pip install -U onnxruntime" in str(caught.value)
