"""Compares bundles of packed checkpoints with transformers on the float values of their weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch

from omnijet import cli
from omnijet.export import stages
from omnijet.export.stages import export_bundle
from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.omni import Omni
from omnijet.runtime.prompt.layout import Prompt
from omnijet.runtime.prompt.messages import parse_messages
from omnijet.runtime.talk.clock import Clock
from tests.export.packer import Recipe, pack_checkpoint
from tests.prompts import Messages, picture, sound, text, user
from tests.reference import load_reference, model_inputs, reference_reply

GROUP = 16  # divides every width of both tiny models
CASES = {
    "nano, AWQ": ("nano", Recipe("awq", GROUP)),
    "nano, GPTQ, symmetric, of both decoders": (
        "nano",
        Recipe("gptq", GROUP, symmetric=True, parts=("thinker", "talker")),
    ),
    "7B quirks, AWQ": ("nano_7b", Recipe("awq", GROUP)),
    "7B quirks, GPTQ, sorted": ("nano_7b", Recipe("gptq", GROUP, sort="together", least_zero=1)),
}
CONVERSATIONS = {
    "text": user(text("Hello, who are you?")),
    "picture and sound": user(picture(150, 90, 10), sound(1.7, 7), text("Do they match?")),
}
LOGITS, MEL, WAVE = 1e-5, 1e-4, 1e-3  # relative bounds, the same as for floats
INTEGER_LOGITS = 0.1  # with activations of 8 bits, on models this narrow


@dataclass(frozen=True, slots=True)
class Case:
    """A packed checkpoint, its bundle, the bundle of the float checkpoint, and the reference."""

    checkpoint: Path
    bundle: Path
    floats: Path
    recipe: Recipe
    omni: Omni
    reference: Any


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    model, recipe = CASES[request.param]
    checkpoint, floats = request.getfixturevalue(model)
    folder = tmp_path_factory.mktemp("packed")
    stands_for = pack_checkpoint(checkpoint, folder / "checkpoint", recipe)
    with pytest.MonkeyPatch.context() as patch:
        trace_from(floats, patch)
        export_bundle(folder / "checkpoint", folder / "bundle")
    reference = load_reference(checkpoint)
    parameters = dict(reference.named_parameters())
    with torch.no_grad():
        for key, weight in stands_for.items():
            parameters[key].copy_(weight)
    omni = Omni.open(folder / "bundle", backend=OrtBackend(1, integer_products=False))
    return Case(folder / "checkpoint", folder / "bundle", floats, recipe, omni, reference)


def trace_from(bundle: Path, patch: pytest.MonkeyPatch) -> None:
    """Takes traced graphs from the bundle of the float checkpoint instead of tracing again."""

    @contextmanager
    def traced_graphs(names: Any, *rest: Any) -> Iterator[Iterator[tuple[str, ir.Model]]]:
        yield ((name, ir.load(bundle / "graphs" / f"{name}.onnx")) for name in names)

    patch.setattr(stages, "traced_graphs", traced_graphs)


def prompt_of(omni: Omni, messages: Messages) -> Prompt:
    return omni.model.prompt(parse_messages(messages))


def logits_of(omni: Omni, prompt: Prompt) -> Array:
    ids = prompt.input_ids
    embeds = omni.model.embed(prompt, 0, ids.size, Clock())
    context = omni.model.thinker.decoder.start(ids.size)
    logits: Array = omni.model.thinker.prefill(
        context, embeds, prompt.positions, prompt.delta
    ).logits
    return logits


def relative_error(got: Array, expected: Array) -> float:
    assert got.shape == expected.shape
    return float(np.abs(got - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_logits(case: Case, conversation: str) -> None:
    prompt = prompt_of(case.omni, CONVERSATIONS[conversation])
    with torch.no_grad():
        expected = case.reference.thinker(**model_inputs(prompt)).logits[0, -1].numpy()
    assert relative_error(logits_of(case.omni, prompt), expected) <= LOGITS
    floats = Omni.open(case.floats, backend=OrtBackend(1))
    # the weights differ from the floats
    assert relative_error(logits_of(floats, prompt), expected) > 1e3 * LOGITS
    quick = Omni.open(case.bundle, backend=OrtBackend(1))
    error = relative_error(logits_of(quick, prompt), expected)
    assert LOGITS < error <= INTEGER_LOGITS  # otherwise the option has no effect


@pytest.mark.parametrize("case", list(CASES)[1::2], indirect=True)
def test_reply(case: Case) -> None:
    messages = CONVERSATIONS["picture and sound"]
    limits = {"voice": "Ethan", "seed": 3}
    ours = case.omni.generate(messages, greedy=True, max_text_tokens=10, max_codes=16, **limits)
    prompt = prompt_of(case.omni, messages)
    expected = reference_reply(case.reference, prompt, max_text=10, max_codes=16, **limits)
    assert ours.text_ids == expected.text_ids and ours.codes == expected.codes
    assert len(ours.codes) > 8
    assert relative_error(ours.mel, expected.mel) <= MEL
    assert relative_error(ours.audio, expected.wave) <= WAVE


def test_every_packed_layer_is_carried_under_its_own_name(case: Case) -> None:
    graphs = [
        ir.load(bundle / "graphs" / "thinker_step.onnx").graph
        for bundle in (case.floats, case.bundle)
    ]
    floats, packed = (
        {name: value.const_value for name, value in graph.initializers.items()} for graph in graphs
    )
    layers = [name for name in floats if name.startswith("decoder.layers") and "norm" not in name]
    layers = [name for name in layers if name.endswith(".weight")]
    assert len(layers) == 4 * case.omni.model.dims.thinker.layers
    for name in layers:
        one, other = floats[name], packed[name]
        assert one is not None and other is not None and one.shape == other.shape
        assert other.dtype == (ir.DataType.INT4 if case.recipe.symmetric else ir.DataType.UINT4)
        assert 8 * other.nbytes == one.nbytes
    assert packed["head.weight"].dtype == ir.DataType.FLOAT  # type: ignore[union-attr]
    sizes = [(b / "graphs" / "thinker_step.weights").stat().st_size
             for b in (case.floats, case.bundle)]  # fmt: skip
    assert sizes[1] < sizes[0]
    entries = [Manifest.read(b).graphs["thinker_step"] for b in (case.floats, case.bundle)]
    assert entries[0].parameters == entries[1].parameters


def test_the_manifest_says_so(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    quantization = Manifest.read(case.bundle).quantization
    assert quantization == {
        "recipe": f"{case.recipe.method} checkpoint",
        "needs": ["int4 weights"],
        "bits": 4,
        "block": GROUP,
        "zero_points": not case.recipe.symmetric,
        "sorted_inputs": bool(case.recipe.sort),
        "layers": {
            f"{part}_step": 4 * getattr(case.omni.model.dims, part).layers
            for part in case.recipe.parts
        },
    }
    assert not Manifest.read(case.floats).quantization
    assert cli.main(["inspect", str(case.bundle), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["quantization"] == quantization
    assert cli.main(["inspect", str(case.bundle)]) == 0
    assert f"{case.recipe.method} checkpoint" in capsys.readouterr().out
    assert cli.main(["check", str(case.bundle)]) == 0
