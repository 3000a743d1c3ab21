"""The backend asks ONNX Runtime for right products, and lets go of its sessions."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from omnijet import cli
from omnijet.runtime.backends import ort_cpu as ort
from omnijet.runtime.backends import ort_installed
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


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        (("x86_64", "avx2"), {"session.x64quantprecision": "1"}),
        (("x86_64", "avx2", "avx512_vnni"), {}),
        (("x86_64", "avx2", "avx_vnni"), {}),
    ],
)
def test_weights_become_unsigned_where_sums_would_saturate(
    sets: tuple[str, ...], expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such products take twice as long, so that processors that need them alone get them."""
    monkeypatch.setattr(ort, "instruction_sets", lambda: sets)
    assert ort.unsaturated(b"... MatMulIntegerToFloat ...") == expected


def test_threads_rest_after_a_run(nano: tuple[Path, Path]) -> None:
    """They would keep cores from the graph that runs meanwhile."""
    path = nano[1] / "graphs" / "talker_step.onnx"
    options = OrtBackend(threads=1).session(path, "talker_step").get_session_options()
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"


def test_an_onnxruntime_that_is_too_old(
    nano: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """JetPack 6 has such a release, which its engines do not use: `check` leaves graphs out."""
    monkeypatch.setattr(ort.onnxruntime, "__version__", "1.23.2")
    monkeypatch.setattr(ort_installed, "PYTHON", (3, 10))
    bundle = Path(shutil.copytree(nano[1], tmp_path / "bundle"))
    for refused in (OrtBackend, lambda: declared(Bundle.open(bundle).graph("vocoder"), "vocoder")):
        with pytest.raises(OmnijetError, match="too old") as caught:
            refused()
        assert "1.25 or newer" in str(caught.value) and "--engines" in str(caught.value.fix)
        assert "--target cpu`" in str(caught.value.fix) and "pip install -U" not in str(
            caught.value
        )
    assert cli.main(["check", str(bundle), "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    said = (
        "not checked: this onnxruntime is too old (needs 1.25, or `omnijet build BUNDLE "
        "--target cpu`)"
    )
    assert report["ok"] and set(report["graphs"].values()) == {said}
    assert cli.main(["check", str(bundle)]) == 0
    assert "not checked" in capsys.readouterr().out
    path = bundle / "graphs/vocoder.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert cli.main(["check", str(bundle)]) == 2
    assert "FAILED graphs/vocoder.onnx: sha256" in capsys.readouterr().out


def test_a_closed_backend_holds_no_session_and_runs_nothing(nano: tuple[Path, Path]) -> None:
    """Neither a graph of it nor what was bound to one keeps a session."""
    backend, bundle = OrtBackend(1), Bundle.open(nano[1])
    contract = bundle.manifest.contracts["vocoder"]
    graph = backend.load(bundle.graph("vocoder"), contract)
    bound = graph.bind({"frames": 4})
    bound.run()
    before = bound.outputs["wave"].copy()
    session, binding = weakref.ref(graph._session.require_open()), weakref.ref(bound.binding.made)
    gc.disable()
    try:
        backend.close()
        backend.close()
        assert session() is None and binding() is None, "it keeps the weights in memory"
    finally:
        gc.enable()
    for use in (
        bound.run,
        lambda: graph.bind({"frames": 4}),
        lambda: backend.load(bundle.graph("vocoder"), contract),
    ):
        with pytest.raises(OmnijetError, match="its backend was closed") as caught:
            use()
        assert "omnijet.load" in (caught.value.fix or "")
    assert np.array_equal(bound.outputs["wave"], before)


def test_a_graph_that_nobody_uses_is_freed_without_closing(nano: tuple[Path, Path]) -> None:
    """A backend may load many graphs in its life."""
    backend, bundle = OrtBackend(1), Bundle.open(nano[1])
    graph = backend.load(bundle.graph("vocoder"), bundle.manifest.contracts["vocoder"])
    session = weakref.ref(graph._session.require_open())
    del graph
    assert session() is None
    backend.close()
