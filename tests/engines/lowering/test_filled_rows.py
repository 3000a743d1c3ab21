"""Attention that is told how many rows are filled: what ONNX says, and what TensorRT-RTX hears.

The canonical graph keeps a mask because of the second.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from omnijet.engines.library import Installed
from omnijet.runtime.bundle.contract import Array
from tests.environment import call

HEADS, KV_HEADS, WIDTH = 6, 2, 16
SIZES = [(13, 1, 5), (13, 5, 7), (17, 3, 0), (7, 7, 0), (1, 1, 0), (301, 4, 129)]
"""(capacity, rows, rows before) of a step."""
PROBE = """
import json, sys
import tensorrt_rtx_bindings as trt
network = trt.Builder(trt.Logger(trt.Logger.ERROR)).create_network(1 << int(
    trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
assert parser.parse(open(sys.argv[1], "rb").read()), parser.get_error(0)
for index in range(network.num_layers):
    layer = network.get_layer(index)
    if layer.type.name == "ATTENTION_INPUT":
        layer.__class__ = trt.IAttentionInputLayer
        found = layer.attention
        print(json.dumps([found.causal_kind.name, found.mask is not None,
                          found.key_value_lengths is not None]))
"""
"""Prints (causal kind, has a mask, has lengths) of the attention that was parsed."""


def attention(capacity: int, rows: int, dtype: int, told: bool) -> onnx.ModelProto:
    """Returns an Attention over a cache, told how far it is filled or given a mask."""
    inputs = {
        "q": (dtype, (1, HEADS, rows, WIDTH)),
        "k": (dtype, (1, KV_HEADS, capacity, WIDTH)),
        "v": (dtype, (1, KV_HEADS, capacity, WIDTH)),
    }
    if told:
        inputs["filled"] = TensorProto.INT64, (1,)
        names = ["q", "k", "v", "", "", "", "filled"]
    else:
        inputs["mask"] = TensorProto.BOOL, (1, 1, rows, capacity)
        names = ["q", "k", "v", "mask"]
    node = helper.make_node("Attention", names, ["y"], is_causal=int(told))
    infos = [helper.make_tensor_value_info(name, *rest) for name, rest in inputs.items()]
    result = helper.make_tensor_value_info("y", dtype, (1, HEADS, rows, WIDTH))
    graph = helper.make_graph([node], "attention", infos, [result])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=10)


def step(capacity: int, rows: int, before: int, dtype: type) -> tuple[dict[str, Array], Array]:
    """Returns inputs, and what plain arithmetic in f64 makes of them."""
    random = np.random.default_rng(capacity)
    q, k, v = (
        random.standard_normal((1, heads, length, WIDTH)).astype(dtype)
        for heads, length in ((HEADS, rows), (KV_HEADS, capacity), (KV_HEADS, capacity))
    )
    seen = before + np.arange(1, rows + 1)
    mask = (np.arange(capacity) < seen[:, None])[None, None]
    wide = [np.repeat(one.astype(np.float64), HEADS // KV_HEADS, axis=1) for one in (k, v)]
    scores = q.astype(np.float64) @ wide[0].swapaxes(2, 3) / WIDTH**0.5
    shares = np.where(mask, np.exp(scores), 0)
    wanted = shares @ wide[1] / shares.sum(axis=-1, keepdims=True)
    filled = np.array([before + rows], np.int64)
    return {"q": q, "k": k, "v": v, "filled": filled, "mask": mask}, wanted


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(("capacity", "rows", "before"), SIZES)
def test_causal_order_counts_from_the_last_filled_row(
    capacity: int, rows: int, before: int, dtype: type
) -> None:
    """Query i of `rows` sees the keys before filled - rows + i + 1, as our masks say."""
    inputs, wanted = step(capacity, rows, before, dtype)
    limit = 1e-6 if dtype is np.float32 else 3e-3
    code = TensorProto.FLOAT if dtype is np.float32 else TensorProto.FLOAT16
    for told in (True, False):
        model = attention(capacity, rows, code, told)
        given = {value.name: inputs[value.name] for value in model.graph.input}
        ready = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        for (found,) in (ready.run(None, given), ReferenceEvaluator(model).run(None, given)):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=limit * np.abs(wanted).max())


@pytest.mark.parametrize(
    ("told", "parsed"), [(False, ["NONE", True, False]), (True, ["UPPER_LEFT", False, False])]
)
def test_tensorrt_rtx_does_not_hear_how_many_rows_are_filled(
    rtx: Installed, tmp_path: Path, told: bool, parsed: list[object]
) -> None:
    """The parser of 1.7 drops `nonpad_kv_seqlen` without a word and counts from the first key, so
    that such an engine would build and be wrong. A version that passes lengths on fails this test:
    then the mask may go (`docs/attention.md`).
    """
    path = tmp_path / "attention.onnx"
    onnx.save(attention(4096, 1, TensorProto.FLOAT16, told), path)
    done = call(rtx.python, "-c", PROBE, path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == parsed
