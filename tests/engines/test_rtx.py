"""TensorRT-RTX builds every graph in every form that it can, ahead of time for three GPUs;
decomposed graphs for one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from omnijet.engines.library import Installed
from omnijet.engines.profiles import profiles_for
from omnijet.engines.targets.toolkits import Flavour
from omnijet.quantization.quantize import plan_for, quantize_bundle
from omnijet.quantization.recipes import RECIPES
from omnijet.runtime.bundle.contract import GraphContract
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.manifest import Manifest
from tests.quantization.seen import plausible
from tests.rtx import CAPABILITIES, LIMITS, build, kinds_of, lowered, must_build

GRAPHS = (
    "audio_encoder", "vision_encoder", "thinker_step", "talker_step", "dit_step", "vocoder",
)  # fmt: skip
ZEROS = ("int4z", "int8z")  # for one graph only: the parser stops at the first
CELLS = [
    ("f16", graph, kind)
    for graph in GRAPHS
    for kind in kinds_of(graph)
    if kind not in ZEROS or graph == "thinker_step"
]
# the others are always f32; quantized bf16 is alike in all four
BF16_CELLS = [
    *(("bf16", graph, "none") for graph in GRAPHS[:4]),
    *(("bf16", "thinker_step", kind) for kind in ("int4", "int8", "w8a8", "fp8")),
]


@pytest.mark.parametrize(("precision", "graph", "kind"), CELLS + BF16_CELLS)
def test_a_graph_builds(
    request: pytest.FixtureRequest,
    rtx: Installed,
    tmp_path: Path,
    precision: str,
    graph: str,
    kind: str,
) -> None:
    bundle: Path = request.getfixturevalue(f"nano_{precision}")
    manifest = Manifest.read(bundle)
    contract = manifest.contracts[graph]
    profiles = profiles_for(contract, LIMITS, rtx.library, manifest.dims.dit.block)
    path = lowered(bundle / manifest.graphs[graph].file, contract, kind, tmp_path)
    for capability in CAPABILITIES:
        verdict = build(path, profiles, contract, capability, rtx)
        assert verdict["done"] == must_build(kind, capability), (capability, verdict)
        if verdict["done"]:
            assert path.with_suffix(".engine").stat().st_size == verdict["bytes"] > 100_000


@pytest.mark.parametrize(
    ("graph", "kind"),
    [(graph, kind) for _, graph, kind in CELLS if kind not in ZEROS],
)
def test_a_decomposed_graph_builds(
    nano_f16: Path, rtx: Installed, tmp_path: Path, graph: str, kind: str
) -> None:
    """Builds the graphs for TensorRT 10.3 and 10.13 for GPUs close to an Orin and a Thor."""
    manifest = Manifest.read(nano_f16)
    contract = manifest.contracts[graph]
    profiles = profiles_for(contract, LIMITS, rtx.library, manifest.dims.dit.block)
    source = nano_f16 / manifest.graphs[graph].file
    path = lowered(source, contract, kind, tmp_path, "decomposed")
    verdict = build(path, profiles, contract, 120 if kind == "fp8" else 86, rtx)
    assert verdict["done"], verdict


@pytest.fixture(scope="module")
def orin(nano_f16: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the bundle in the recipe of Orin."""
    out, bundle = tmp_path_factory.mktemp("orin") / "bundle", Bundle.open(nano_f16)
    recipe = RECIPES["orin"]
    quantize_bundle(nano_f16, out, recipe, plan_for(bundle, recipe), plausible(bundle), processes=0)
    return out


@pytest.mark.parametrize("flavour", ["native", "decomposed"])
@pytest.mark.parametrize("graph", GRAPHS)
def test_the_recipe_of_an_orin_builds(
    orin: Path, rtx: Installed, tmp_path: Path, graph: str, flavour: Flavour
) -> None:
    """Builds whole graphs of the recipe, native as JetPack 7.2 gets them and decomposed as 6.2, for
    SM86: TensorRT-RTX knows no SM87.
    """
    manifest = Manifest.read(orin)
    contract = manifest.contracts[graph]
    path = lowered(orin / manifest.graphs[graph].file, contract, "none", tmp_path, flavour)
    profiles = profiles_for(contract, LIMITS, rtx.library, manifest.dims.dit.block)
    verdict = build(path, profiles, contract, 86, rtx)
    assert verdict["done"], verdict


@pytest.mark.parametrize("flavour", ["native", "decomposed"])
@pytest.mark.parametrize("kind", ["int4", "fp8"])
def test_the_trained_thinker_builds(
    thinker_f16: tuple[Path, GraphContract],
    rtx: Installed,
    tmp_path: Path,
    kind: str,
    flavour: Flavour,
) -> None:
    source, contract = thinker_f16
    path = lowered(source, contract, kind, tmp_path, flavour)
    profiles = profiles_for(contract, LIMITS, rtx.library, block=24)
    verdict = build(path, profiles, contract, 89, rtx)
    assert verdict["done"], verdict
    inputs = {name: (dtype, axes) for name, dtype, axes in verdict["inputs"]}
    assert inputs["key_cache_0"] == ("HALF", [1, 2, LIMITS["capacity"], 32])
    assert inputs["embeds"] == ("FLOAT", [1, -1, 128])
