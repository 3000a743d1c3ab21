"""Tests of the graph passes: each keeps its promise and changes no value."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from omnijet.export.modules import ops
from omnijet.export.modules.base import Linear, Sourced, materialize
from omnijet.export.trace.tracer import TRACE_SIZES, trace
from omnijet.runtime.bundle.contract import GraphContract, StatePair, TensorSpec


class Attending(Sourced):
    """A decoder layer in miniature, with every operator the canonical graph declares."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = Linear(("q", "k", "v"), 32, (32, 16, 16), bias=True, precision="f32")

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor, index: Tensor, *caches: Tensor
    ) -> tuple[Tensor, ...]:
        rows = x.shape[1]
        normed = ops.rms_norm(x, torch.ones(32), 1e-6)
        q, k, v = self.qkv(normed).split([32, 16, 16], dim=-1)
        q = ops.rotary(q.reshape(1, rows, 4, 8).transpose(1, 2), cos, sin)
        k = ops.rotary(k.reshape(1, rows, 2, 8).transpose(1, 2), cos, sin, interleaved=True)
        v = v.reshape(1, rows, 2, 8).transpose(1, 2)
        keys = ops.cache_update(caches[0], k, index)
        values = ops.cache_update(caches[1], v, index)
        y = ops.attention(q, keys, values, mask).transpose(1, 2).reshape(1, rows, 32)
        return x + y, keys, values


CACHE = (1, 2, "capacity", 8)
CONTRACT = GraphContract(
    "toy",
    (
        TensorSpec("x", "f32", (1, "rows", 32)),
        TensorSpec("cos", "f32", (1, "rows", 4)),
        TensorSpec("sin", "f32", (1, "rows", 4)),
        TensorSpec("mask", "bool", (1, 1, "rows", "capacity")),
        TensorSpec("index", "i64", (1,)),
        TensorSpec("keys", "f32", CACHE),
        TensorSpec("values", "f32", CACHE),
    ),
    (
        TensorSpec("y", "f32", (1, "rows", 32)),
        TensorSpec("keys_next", "f32", CACHE),
        TensorSpec("values_next", "f32", CACHE),
    ),
    (StatePair("keys", "keys_next"), StatePair("values", "values_next")),
)


class Random:
    """A checkpoint of seeded random tensors."""

    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        generator = torch.Generator().manual_seed(0)
        self.values = {k: torch.randn(s, generator=generator) / 4 for k, s in shapes.items()}

    def tensor(self, key: str) -> Tensor:
        return self.values[key]


@pytest.fixture(scope="module")
def model() -> ir.Model:
    return trace(Attending(), CONTRACT)


def test_the_canonical_graph_is_small_and_standard(model: ir.Model) -> None:
    counts = Counter(node.op_type for node in model.graph)
    assert counts["Attention"] == 1
    assert counts["TensorScatter"] == counts["RotaryEmbedding"] == 2
    assert counts["RMSNormalization"] == counts["Split"] == 1
    for absent in ("SplitToSequence", "SequenceAt", "Identity", "Shape", "Concat", "Squeeze"):
        assert counts[absent] == 0, counts
    assert set(model.opset_imports) == {""} and model.opset_imports[""] == 24
    assert not model.functions


def test_attention_declares_one_output(model: ir.Model) -> None:
    node = next(node for node in model.graph if node.op_type == "Attention")
    assert len(node.outputs) == 1


def test_axes_carry_the_contract_names(model: ir.Model) -> None:
    for value, spec in zip(model.graph.inputs, CONTRACT.inputs, strict=True):
        assert value.shape is not None
        assert tuple(d if isinstance(d, int) else d.value for d in value.shape) == spec.axes


def test_the_graph_computes_what_the_module_computes(model: ir.Model) -> None:
    shapes = {}
    for name, rows in (("q", 32), ("k", 16), ("v", 16)):
        shapes |= {f"{name}.weight": (rows, 32), f"{name}.bias": (rows,)}
    weights = Random(shapes)
    module = materialize(Attending(), weights)
    for name, parameter in module.named_parameters():
        model.graph.initializers[name].const_value = ir.tensor(parameter.numpy(), name=name)
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    sizes = {**TRACE_SIZES, "rows": 5, "capacity": 12}
    rng = np.random.default_rng(1)
    feeds = {
        spec.name: rng.standard_normal(spec.shape(sizes)).astype(np.float32)
        for spec in CONTRACT.inputs
    }
    feeds["mask"] = np.arange(12)[None, :] <= 3 + np.arange(5)[:, None]
    feeds["mask"] = feeds["mask"][None, None]
    feeds["index"] = np.array([3])
    got = session.run(None, feeds)
    expected = module(*(torch.from_numpy(feed) for feed in feeds.values()))
    for ours, theirs in zip(got, expected, strict=True):
        error = np.abs(ours - theirs.numpy()).max() / np.abs(theirs.numpy()).max()
        assert error < 1e-6


class Wrong(nn.Module):
    def forward(self, mel: Tensor) -> tuple[Tensor]:
        return (mel.transpose(1, 2),)


def test_a_module_that_breaks_its_contract_is_caught_while_tracing() -> None:
    contract = GraphContract(
        "wrong",
        (TensorSpec("mel", "f32", (1, 80, "frames")),),
        (TensorSpec("wave", "f32", (1, 80, "frames")),),
    )
    with pytest.raises(AssertionError):
        trace(Wrong(), contract)
