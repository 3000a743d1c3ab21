"""The DiT whose products multiply 16-bit numbers, against the one in f32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch

from omnijet.engines.library import Installed
from omnijet.engines.profiles import profiles_for
from omnijet.engines.targets.toolkits import Flavour
from omnijet.export.checkpoint.folder import Checkpoint
from omnijet.export.graphfile.weight_pages import WeightPages
from omnijet.export.modules.base import Linear, materialize
from omnijet.export.modules.dit import DOWN_SHIFT, DitStep
from omnijet.export.trace.tracer import trace
from omnijet.nano.evaluation.heldout import open_set
from omnijet.runtime.bundle.contract import Array, GraphContract
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.speech.dit import DitTables, synthesize
from omnijet.runtime.speech.solver import EXACT
from tests.command import Capture, refused
from tests.export.modules.parity import contract_of
from tests.quantization.graphs import error, feeds, run
from tests.rtx import LIMITS, build, lowered
from tests.runtime.speech.test_dit import TorchGraph

LEAST_DB = 60.0
"""Measured: 78 dB. The nearest other preset's solver is 13 to 18 dB from the exact mel."""
LARGEST = 65504.0 / 64
"""A sixty-fourth of what f16 holds. Measured on the trained checkpoint: 15."""


def module_of(checkpoint: Checkpoint, **changes: str) -> tuple[DitStep, ModelDims]:
    dims = checkpoint.dims
    assert dims.speech is not None
    dit = replace(dims.speech.dit, **changes)
    module = DitStep(dit)
    materialize(module, checkpoint)
    return module, replace(dims, speech=replace(dims.speech, dit=dit))


def largest_of(module: torch.nn.Module) -> dict[str, float]:
    """Returns a dictionary that is filled with each product's largest operand or result."""
    found: dict[str, float] = {}

    def note(name: str, scale: float) -> object:
        def hook(_: object, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            most = max(inputs[0].abs().max().item(), output.abs().max().item()) / scale
            found[name] = max(found.get(name, 0), most)

        return hook

    for name, part in module.named_modules():
        if isinstance(part, Linear) and part.dtype == torch.float16:
            part.register_forward_hook(note(name, part.scale or 1.0))  # type: ignore[arg-type]
    return found


@torch.no_grad()
def test_the_mel_of_a_spoken_reply_is_that_of_f32_by_60_db(trained: tuple[Path, Path]) -> None:
    bundle, checkpoint = Bundle.open(trained[1]), Checkpoint.open(trained[0])
    with open_set() as items:
        item = next(item for item in items if item.skill == "speak")
    codes, voice = np.array(item.codes), bundle.table(f"voice_{item.voice}")
    mels: list[Array] = []
    for products in ("f32", "f16"):
        module, dims = module_of(checkpoint, products=products)
        largest = largest_of(module)
        graph = TorchGraph(module, contract_of("dit_step", dims, "f32"))
        assert dims.speech is not None
        tables = DitTables.load(bundle.table, dims.speech.dit)
        shape = (codes.size * dims.speech.dit.repeats, dims.speech.dit.mel)
        noise = np.random.default_rng(0).standard_normal(shape, np.float32)
        mels.append(synthesize(graph, tables, codes, voice, noise, solver=EXACT)[0])  # type: ignore[arg-type]
    exact, rounded = mels
    error = np.mean((rounded - exact) ** 2) / np.mean((exact - exact.mean()) ** 2)
    assert 0 < error < 10 ** (-LEAST_DB / 10), 10 * np.log10(error)
    assert len(largest) == 4 * dims.speech.dit.layers
    assert 0 < max(largest.values()) < LARGEST, largest


def test_an_mlp_may_be_64_times_as_loud_as_f16_holds() -> None:
    down = Linear("x", 4, 4, bias=False, precision="f16", shift=DOWN_SHIFT)
    down.register_parameter("weight", torch.nn.Parameter(torch.eye(4).half()))
    loud = torch.tensor([[3e6, -2e6, 1.0, 7e4]])
    assert torch.allclose(down(loud), loud, rtol=1e-3, atol=1e-3)


@pytest.fixture(scope="module")
def graph(
    trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, GraphContract]:
    """Returns the graph file of the trained DiT, and its contract."""
    module, dims = module_of(Checkpoint.open(trained[0]), products="f16")
    assert dims.speech is not None
    contract = contract_of("dit_step", dims, "f32")
    model = trace(DitStep(dims.speech.dit), contract)
    path = tmp_path_factory.mktemp("f16") / "dit_step.onnx"
    with WeightPages(path.parent, "dit_step.weights") as pages:
        for name, value in module.named_parameters():
            model.graph.initializers[name].const_value = pages.add(name, value.detach().numpy())
    ir.save(model, path)
    return path, contract


def test_the_graph_multiplies_f16_in_blocks_alone(graph: tuple[Path, GraphContract]) -> None:
    kinds: Mapping[str, str] = {
        str(node.inputs[1].name): node.inputs[1].dtype.name
        for node in ir.load(graph[0]).graph
        if node.op_type == "MatMul" and node.inputs[1] is not None and node.inputs[1].dtype
    }
    assert {name for name, kind in kinds.items() if kind == "FLOAT"} == {
        "input.weight", "output.weight",
    }  # fmt: skip
    layers = sum(name.endswith("qkv.weight") for name in kinds)
    assert list(kinds.values()).count("FLOAT16") == 4 * layers > 0


def test_onnx_runtime_computes_it_on_the_cpu(
    trained: tuple[Path, Path], graph: tuple[Path, GraphContract]
) -> None:
    inputs = feeds(graph[1])
    wanted = run(trained[1] / "graphs" / "dit_step.onnx", inputs, optimize=True)
    got = run(graph[0], inputs, optimize=True)
    assert 0 < error(got, wanted) < 3e-3


@pytest.mark.parametrize("flavour", ["native", "decomposed"])
def test_tensorrt_rtx_builds_it(
    graph: tuple[Path, GraphContract], rtx: Installed, tmp_path: Path, flavour: Flavour
) -> None:
    source, contract = graph
    path = lowered(source, contract, "none", tmp_path, flavour)
    verdict = build(path, profiles_for(contract, LIMITS, rtx.library, 24), contract, 86, rtx)
    assert verdict["done"], verdict
    assert path.with_suffix(".engine").stat().st_size == verdict["bytes"] > 100_000


def test_it_is_refused_for_a_bundle_without_a_voice(
    trained: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    target = tmp_path / "b"
    said = refused(capsys, "export", trained[0], target, "--no-speech", "--dit", "f16")
    assert "leave out --dit" in said and not target.exists()


def test_the_manifest_says_what_they_multiply_and_old_ones_mean_f32(
    trained: tuple[Path, Path],
) -> None:
    _, dims = module_of(Checkpoint.open(trained[0]), products="f16")
    data = dims.to_json()
    assert data["dit"]["products"] == "f16" and ModelDims.from_json(data) == dims
    del data["dit"]["products"]
    old = ModelDims.from_json(data)
    assert old.speech is not None and old.speech.dit.products == "f32"
    with pytest.raises(ValueError, match="products"):
        ModelDims.from_json({**data, "dit": {**data["dit"], "products": "bf16"}})
