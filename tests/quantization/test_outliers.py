"""Scaling on a checkpoint with outlier channels, which real checkpoints have."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from omnijet.quantization.budget.trials import Bench
from omnijet.quantization.calibration.conversations import NANO, open_conversations
from omnijet.quantization.calibration.state import Place
from omnijet.quantization.graph_layers import layers_of
from omnijet.quantization.numerics.statistics import Statistics
from omnijet.quantization.quantize import Calibration, bundle_layers, statistics_of
from omnijet.quantization.schemes import Scheme, WeightScheme
from omnijet.runtime.bundle.folder import Bundle
from tests.quantization.few import few_conversations

LOUD = 24.0  # factor over the other channels
CHANNELS = (5, 77, 101)
PLAIN = Scheme(WeightScheme("int4", 64))


def plant(bundle: Path, target: Path) -> None:
    """Writes an equal Thinker whose norms make some channels loud and whose weights undo that."""
    shutil.copytree(bundle, target)
    path = target / "graphs" / "thinker_step.onnx"
    model = ir.load(path)
    weights = model.graph.initializers
    with open(target / "graphs" / "thinker_step.weights", "r+b") as file:
        for layer in layers_of(model, "thinker_step"):
            activation = next(n for n in model.graph if n.outputs[0].name == layer.activation)
            if activation.op_type != "RMSNormalization" or layer.name == "head.weight":
                continue
            scale, weight = activation.inputs[1], weights[layer.name].const_value
            assert scale is not None and scale.const_value is not None and weight is not None
            norm, rows = scale.const_value.numpy().copy(), weight.numpy().copy()
            norm[list(CHANNELS)] *= LOUD
            rows[list(CHANNELS)] /= LOUD
            scale.const_value = ir.tensor(norm, name=scale.name)
            assert isinstance(weight, ir.ExternalTensor)
            weight.release()
            file.seek(weight.offset or 0)
            file.write(rows.tobytes())
    ir.save(model, target / "planted.onnx")
    (target / "planted.onnx").replace(path)
    manifest = Bundle.open(bundle).manifest
    size = path.stat().st_size
    name = "graphs/thinker_step.onnx"
    files = {**manifest.files, name: replace(manifest.files[name], bytes=size)}
    replace(manifest, files=files).write(target)


@pytest.fixture(scope="module")
def bench(trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("planted")
    plant(trained[1], folder / "bundle")
    seen: Mapping[Place, Statistics] = statistics_of(
        Bundle.open(folder / "bundle"), thinker(folder / "bundle"),
        Calibration(few_conversations(tmp_path_factory.mktemp("data"), 10)), lambda *report: None,
    )  # fmt: skip
    (folder / "bench").mkdir()
    bench = Bench(folder / "bundle", folder / "bench")
    with open_conversations(NANO) as conversations:
        bench.prepare([one.messages for one in conversations.items[-4:]], seen)
    return bench


def thinker(bundle: Path) -> list:
    layers = bundle_layers(Bundle.open(bundle))
    return [one for one in layers if one.graph == "thinker_step" and "decoder" in one.name]


def test_scaling_beats_plain_rounding_by_a_factor(bench: Bench) -> None:
    layers = thinker(bench.bundle)
    plain, scaled = (
        bench.run(dict.fromkeys(layers, scheme), threads=1)
        for scheme in (PLAIN, Scheme(replace(PLAIN.weights, scaling=True)))
    )
    assert np.isfinite([plain.harm, scaled.harm]).all() and scaled.harm > 0
    assert scaled.harm < plain.harm / 2
