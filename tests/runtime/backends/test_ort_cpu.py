"""What the backend asks of ONNX Runtime."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from omnijet import cli
from omnijet.runtime.backends import ort_cpu as ort
from omnijet.runtime.backends.ort_cpu import OrtBackend, declared
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.errors import OmnijetError
from tests.command import Capture


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_products_of_8_bits_do_not_saturate(tmp_path: Path, rows: int) -> None:
    inputs, outputs = 200, 48
    weight = np.full((inputs, outputs), 127, np.int8)
    weight[:, 1::2] = -127
    constants = {
        "weight": weight,
        "scale": np.float32(1),
        "scales": np.ones(outputs, np.float32),
        "zero": np.uint8(0),
    }
    node = helper.make_node(
        "MatMulIntegerToFloat",
        ["x", "weight", "scale", "scales", "zero"],
        ["y"],
        domain="com.microsoft",
    )
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [rows, inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, outputs])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    path = tmp_path / "product.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    x = np.full((rows, inputs), 255, np.uint8)
    (found,) = OrtBackend(threads=1).session(path, "product").run(None, {"x": x})
    assert np.array_equal(found, x.astype(np.float32) @ weight.astype(np.float32))


def test_an_onnxruntime_that_is_too_old(
    nano: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """As on JetPack 6, whose engines need none: files are checked, graphs left out."""
    monkeypatch.setattr(ort.onnxruntime, "__version__", "1.23.2")
    bundle = Path(shutil.copytree(nano[1], tmp_path / "bundle"))
    for refused in (OrtBackend, lambda: declared(Bundle.open(bundle).graph("vocoder"), "vocoder")):
        with pytest.raises(OmnijetError, match="too old") as caught:
            refused()
        assert "1.25 or newer" in str(caught.value) and "--engines" in str(caught.value.fix)
    assert cli.main(["check", str(bundle), "--format", "json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    said = "not checked: this onnxruntime is too old (needs 1.25)"
    assert facts["ok"] and set(facts["graphs"].values()) == {said}
    assert cli.main(["check", str(bundle)]) == 0
    assert "not checked" in capsys.readouterr().out
    path = bundle / "graphs/vocoder.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert cli.main(["check", str(bundle)]) == 2
    assert "FAILED graphs/vocoder.onnx: sha256" in capsys.readouterr().out
