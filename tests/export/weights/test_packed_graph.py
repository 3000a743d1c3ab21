"""Compares a layer with packed projections in ONNX Runtime with the product of its floats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import Tensor

from omnijet.export.checkpoint.config_section import Section
from omnijet.export.checkpoint.packing import read_packing
from omnijet.export.modules.base import Linear, Source, weight_sources
from omnijet.export.weights import packed_weight
from omnijet.export.weights.packed_graph import carry_packed
from omnijet.export.weights.packed_plan import _Planner
from omnijet.export.weights.weight_file import ByteRuns, write_weights
from omnijet.runtime.bundle.contract import Array, Precision
from omnijet.runtime.errors import OmnijetError
from tests.export.packer import Recipe, pack

INPUTS, GROUP = 96, 32
WIDTHS = {"q": 48, "k": 16, "v": 24}
IR_DTYPES = {"f32": ir.DataType.FLOAT, "f16": ir.DataType.FLOAT16}

RECIPES = {
    "AWQ": Recipe("awq"),
    "GPTQ, symmetric": Recipe("gptq", symmetric=True),
    "GPTQ with zero points": Recipe("gptq", least_zero=1),
    "GPTQ with zero points of 0, from GPTQModel": Recipe("gptq", author="gptqmodel:2.0.0"),
    "GPTQ, second format": Recipe("gptq", second_format=True),
    "GPTQ, 8 bits": Recipe("gptq", bits=8, least_zero=1),
    "GPTQ, 8 bits, symmetric": Recipe("gptq", bits=8, symmetric=True),
    "GPTQ, sorted": Recipe("gptq", sort="together", second_format=True),
    "GPTQ, sorted, symmetric": Recipe("gptq", sort="together", symmetric=True),
    "GPTQ, each sorted its own way": Recipe("gptq", sort="apart", second_format=True),
    "small groups": Recipe("awq", group=16),
}


class Stored:
    """A checkpoint of one layer in memory."""

    def __init__(self, recipe: Recipe, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        faults: list[str] = []
        root = Section({"quantization_config": recipe.config()}, "", faults)
        self.packing = read_packing(root)
        assert not faults and self.packing is not None
        self.folder = Path("checkpoint")
        self.tensors: dict[str, Tensor] = {}
        floats = []
        for name, width in WIDTHS.items():
            key = f"thinker.model.layers.0.self_attn.{name}_proj.weight"
            weight = torch.randn(width, INPUTS, generator=generator).numpy()
            if not recipe.symmetric:
                # blocks of one sign give zero points of 0 and 15
                weight += np.linspace(-3.5, 3.5, width, dtype=np.float32)[:, None]
            parts, stands_for = pack(key, weight, recipe)
            self.tensors.update({key.replace("weight", part): t for part, t in parts.items()})
            floats.append(stands_for)
        self.floats = torch.cat(floats).t().numpy()
        self.source = Source(
            tuple(f"thinker.model.layers.0.self_attn.{name}_proj.weight" for name in WIDTHS),
            tuple((width, INPUTS) for width in WIDTHS.values()),
            transpose=True,
        )

    def keys(self) -> Any:
        return self.tensors.keys()

    def tensor(self, key: str) -> Tensor:
        return self.tensors[key]

    def rows(self, key: str, start: int, stop: int) -> Tensor:
        return self.tensors[key][start:stop]


class Planner(_Planner):
    """A planner for a checkpoint without dimensions."""

    def __init__(self, stored: Stored) -> None:
        self.checkpoint = stored  # type: ignore[assignment]
        assert stored.packing is not None
        self.packing = stored.packing
        self.layout = {}
        self.stored = stored.keys()
        self.faults = []


def write(folder: Path, stored: Stored, precision: Precision = "f32") -> ir.Model:
    """Writes `folder/g.onnx`, which maps x [rows, inputs] to y [rows, outputs]."""
    dtype, outputs = IR_DTYPES[precision], sum(WIDTHS.values())
    planner = Planner(stored)
    plan = planner.plan({"layer.weight": stored.source})
    assert not planner.faults, planner.faults
    x = ir.Value(name="x", shape=ir.Shape(["rows", INPUTS]), type=ir.TensorType(dtype))
    weight = ir.Value(
        name="layer.weight", shape=ir.Shape([INPUTS, outputs]), type=ir.TensorType(dtype)
    )
    product = ir.node("MatMul", [x, weight])
    y = product.outputs[0]
    y.name, y.shape, y.type = "y", ir.Shape(["rows", outputs]), ir.TensorType(dtype)
    graph = ir.Graph([x], [y], nodes=[product], initializers=[weight], opset_imports={"": 24})
    model = ir.Model(graph, ir_version=10)
    sources: dict[str, Source | ByteRuns] = dict(carry_packed(model, plan))
    parameters = write_weights(model, sources, stored, folder, "w", lambda count: None)
    assert parameters == INPUTS * outputs
    ir.save(model, folder / "g.onnx")
    return model


def run(folder: Path, x: Array, level: str = "1") -> Array:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", level)
    session = onnxruntime.InferenceSession(folder / "g.onnx", options)
    y: Array = session.run(None, {"x": x})[0]
    return y


def activations(precision: Precision, rows: int = 5) -> Array:
    x = np.random.default_rng(1).standard_normal((rows, INPUTS), dtype=np.float32)
    return x.astype(np.float16 if precision == "f16" else np.float32)


@pytest.mark.parametrize("precision", ["f32", "f16"])
@pytest.mark.parametrize("name", RECIPES)
def test_product(tmp_path: Path, name: str, precision: Precision) -> None:
    stored = Stored(RECIPES[name])
    model = write(tmp_path, stored, precision)
    x = activations(precision)
    expected = x.astype(np.float64) @ stored.floats
    got = run(tmp_path, x).astype(np.float64)
    bound = 2e-6 if precision == "f32" else 2e-3
    assert np.abs(got - expected).max() <= bound * np.abs(expected).max()
    ops = [node.op_type for node in model.graph]
    parts = 3 if "own way" in name else 1
    assert ops.count("DequantizeLinear") == ops.count("MatMul") == parts
    assert ops.count("Gather") == (parts if "sorted" in name else 0)
    symmetric = "symmetric" in name
    for node in model.graph:
        if node.op_type == "DequantizeLinear":
            assert len(node.inputs) == (2 if symmetric else 3)
            assert node.inputs[1] is not None and node.inputs[1].dtype == IR_DTYPES[precision]
    assert ("layer.weight" in model.graph.initializers) == (parts == 1)


def test_the_packer_meets_every_case() -> None:
    """The zero points of the test data include both ends of the range."""
    zeros = Stored(RECIPES["GPTQ, second format"]).tensors
    words = torch.cat([t.flatten() for key, t in zeros.items() if key.endswith("qzeros")])
    nibbles = {int(word) >> shift & 15 for word in words for shift in range(0, 32, 4)}
    assert {0, 15} < nibbles and len(nibbles) > 5


@pytest.mark.parametrize("name", ["AWQ", "GPTQ, sorted", "GPTQ with zero points"])
def test_any_block_size_writes_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    files = []
    for rows in (1, 3, 1000):
        monkeypatch.setattr(packed_weight, "BLOCK_BYTES", 4 * 48 * 8 * rows)
        folder = tmp_path / str(rows)
        folder.mkdir()
        write(folder, Stored(RECIPES[name]))
        files.append((folder / "w").read_bytes())
    assert files[0] == files[1] == files[2]


def test_numbers_take_half_a_byte(tmp_path: Path) -> None:
    model = write(tmp_path, Stored(RECIPES["AWQ"]))
    value = model.graph.initializers["layer.weight"].const_value
    assert value is not None and value.dtype == ir.DataType.UINT4
    assert value.nbytes == INPUTS * sum(WIDTHS.values()) // 2
    assert run(tmp_path, activations("f32"), level="4").shape == (5, 88)


def faults(stored: Stored) -> str:
    planner = Planner(stored)
    planner.plan({"layer.weight": stored.source})
    return "\n".join(planner.faults)


def test_lost_zero_points_are_refused() -> None:
    """AutoGPTQ cannot store a zero point of 0, and readers interpret the result differently."""
    message = faults(Stored(Recipe("gptq")))
    assert "zero points of 0, lost in format 'gptq'" in message and "q_proj" in message
    assert not faults(Stored(Recipe("gptq", author="gptqmodel:2.0.0")))
    assert not faults(Stored(Recipe("gptq", least_zero=1)))


def test_groups_of_unequal_size_are_refused() -> None:
    stored = Stored(RECIPES["GPTQ, sorted"])
    name = "thinker.model.layers.0.self_attn.k_proj.g_idx"
    stored.tensors[name][stored.tensors[name] == 2] = 1
    assert faults(stored) == f"{name[:-6]}: g_idx has groups of another size than 32"


def test_half_packed_layers_are_refused() -> None:
    stored = Stored(RECIPES["AWQ"])
    del stored.tensors["thinker.model.layers.0.self_attn.v_proj.qweight"]
    assert "v_proj: float, but joined with packed layers" in faults(stored)


def test_a_bias_that_the_model_lacks_must_be_zero() -> None:
    stored = Stored(RECIPES["AWQ"])
    name = "thinker.model.layers.0.self_attn.q_proj.bias"
    stored.tensors[name] = torch.zeros(48)
    assert not faults(stored)
    stored.tensors[name][3] = 0.1
    assert "a bias that is not zero" in faults(stored)


def test_scales_that_f16_cannot_hold_are_refused(tmp_path: Path) -> None:
    stored = Stored(RECIPES["AWQ"])
    name = "thinker.model.layers.0.self_attn.q_proj.scales"
    stored.tensors[name] = torch.full(stored.tensors[name].shape, 7e4)
    with pytest.raises(OmnijetError, match="does not fit f16"):
        write(tmp_path, stored, "f16")


def test_a_float_layer_is_left_alone() -> None:
    assert not carry_packed(ir.Model(ir.Graph([], [], nodes=[]), ir_version=10), {})
    sources = weight_sources(Linear("p", 32, 16, bias=False, precision="f32"))
    assert not Planner(Stored(RECIPES["AWQ"])).plan(sources)
