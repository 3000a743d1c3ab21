"""A bundle in bf16 is for GPUs: what a CPU can do with it, and how it refuses the rest."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch

from omnijet import cli
from omnijet.engines.widened_backend import WidenedBackend
from omnijet.export.checkpoint.folder import Checkpoint
from omnijet.export.modules.base import load_source, shaped, weight_sources
from omnijet.export.modules.graph_modules import graph_modules
from omnijet.quantization.quantize import Calibration, plan_for, quantize_bundle, statistics_of
from omnijet.quantization.recipes import RECIPES, Recipe, Rule
from omnijet.quantization.schemes import Scheme, WeightScheme, both
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.omni import Omni
from tests.command import Capture, refused
from tests.quantization.few import few_conversations

MEDIA = Path(__file__).parent / "media"
QUESTION = [{"role": "user", "content": [{"type": "audio", "audio": str(MEDIA / "question.wav")}]}]


def test_weights_and_tables_are_the_checkpoints_bit_for_bit(
    trained_bf16: tuple[Path, Path],
) -> None:
    checkpoint, bundle = Checkpoint.open(trained_bf16[0]), Bundle.open(trained_bf16[1])
    compared = 0
    for name, module in graph_modules(checkpoint.dims, "bf16").items():
        written = ir.load(bundle.graph(name)).graph.initializers
        for key, source in weight_sources(module).items():
            parameter = module.get_parameter(key)
            if parameter.dtype != torch.bfloat16:
                continue
            value = load_source(source, checkpoint)
            assert value.dtype == torch.bfloat16  # as published checkpoints are
            tensor = written[key].const_value
            assert tensor is not None and tensor.dtype == ir.DataType.BFLOAT16
            wanted = shaped(value, parameter.shape, key).contiguous().view(torch.int16).numpy()
            assert tensor.tobytes() == wanted.tobytes(), key
            compared += 1
    assert compared > 60
    for part in ("thinker", "talker"):
        rows = checkpoint.tensor(f"{part}.model.embed_tokens.weight")
        table = bundle.table(f"{part}_embedding")
        np.testing.assert_array_equal(table, rows.view(torch.int16).numpy().view(np.uint16))
        assert bundle.manifest.tables[f"{part}_embedding"].dtype == "bfloat16"


def test_it_is_checked_and_inspected(
    trained_bf16: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    assert cli.main(["check", str(trained_bf16[1])]) == 0
    capsys.readouterr()
    assert cli.main(["inspect", str(trained_bf16[1]), "--format", "json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["precision"] == "bf16" and "bf16" in json.dumps(facts["graphs"]["talker_step"])


@pytest.mark.parametrize(
    "command", ["run --text Hi", "bench", "profile --scenario text", "eval", "check --fidelity"]
)
def test_a_cpu_refuses_to_run_it(
    trained: tuple[Path, Path], trained_bf16: tuple[Path, Path], capsys: Capture, command: str
) -> None:
    verb, *options = command.split()
    if "--fidelity" in options:
        options += ["--float", str(trained[1])]
    said = refused(capsys, verb, trained_bf16[1], *options)
    assert "no kernels for graphs in bf16" in said
    assert "--dtype f32 or f16" in said and "GPU backend" not in said
    # what that builds runs without an option
    assert f"omnijet build {trained_bf16[1]} --target cpu" in said and "--engines" not in said


def test_it_answers(trained_bf16: tuple[Path, Path]) -> None:
    """Runs the whole pipeline on widened graphs: tables, caches in place, speech."""
    with Omni.open(trained_bf16[1], backend=WidenedBackend(1)) as omni:
        reply = omni.generate(QUESTION, greedy=True, seed=1)
    assert reply.text == "four seven one"
    assert reply.audio.std() > 0.01


def test_it_is_calibrated_and_quantized(trained_bf16: tuple[Path, Path], tmp_path: Path) -> None:
    bundle = Bundle.open(trained_bf16[1])
    recipe = Recipe("mine", "", (
        Rule("thinker_step", "decoder.layers.*", Scheme(WeightScheme("int4", 64, scaling=True))),
        Rule("thinker_step", "*.qkv.weight", both("int8", migration=0.5)),
        Rule("audio_encoder", "layers.*", both("fp8")),
    ))  # fmt: skip
    plan = plan_for(bundle, recipe)
    data = Calibration(few_conversations(tmp_path, 2))
    seen = statistics_of(bundle, plan, data, lambda *report: None)
    out = tmp_path / "out"
    manifest = quantize_bundle(trained_bf16[1], out, recipe, plan, seen)
    layers = manifest.quantization["layers"]
    quality = [one["snr_db"] for graph in layers.values() for one in graph.values()]
    assert min(quality) > 8 and np.median(quality) > 15
    assert manifest.precision == "bf16" and cli.main(["check", str(out)]) == 0
    with Omni.open(out, backend=WidenedBackend(1)) as omni:
        reply = omni.generate(QUESTION, speech=False)
    assert reply.text == "four seven one"


def test_recipes_and_targets_without_a_gpu_are_refused(
    trained_bf16: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    options = (trained_bf16[1], tmp_path / "out", "--data", "none", "--recipe")
    for rest in (("cpu-int8",), ("cpu-int4",), ("orin-int4", "--target", "cpu")):
        said = refused(capsys, "quantize", *options, *rest)
        assert "do not run bf16" in said and "--dtype f32" in said
    assert {recipe.form for recipe in RECIPES.values()} == {"cpu", "standard"}
    assert not list(tmp_path.iterdir())
