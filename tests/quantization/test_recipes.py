"""Recipes: the last rule decides, typos are reported, targets refuse numbers that they lack."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir
import pytest

from omnijet.engines.targets.target import TARGETS, Target
from omnijet.quantization.graph_layers import layers_of
from omnijet.quantization.layers import Layer
from omnijet.quantization.recipes import RECIPES, Recipe, Rule, recipe_named, recommended
from omnijet.quantization.schemes import ActivationScheme, Scheme, WeightScheme, both
from omnijet.runtime.bundle.contract import SPEECH_GRAPHS
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.errors import OmnijetError
from tests.layering import HEAVY, ROOT

INT4, INT8 = Scheme(WeightScheme("int4")), Scheme(WeightScheme("int8"))


@pytest.fixture(scope="module")
def layers(trained: tuple[Path, Path]) -> list[Layer]:
    bundle = Bundle.open(trained[1])
    return [
        layer
        for graph in bundle.manifest.graphs
        for layer in layers_of(ir.load(bundle.graph(graph)), graph)
    ]


def test_layers_are_the_products_with_weights(layers: list[Layer]) -> None:
    thinker = [layer for layer in layers if layer.graph == "thinker_step"]
    assert len(thinker) % 4 == 1 and thinker[-1].name == "head.weight"
    assert thinker[0].name == "decoder.layers.0.qkv.weight"
    audio = [layer for layer in layers if layer.graph == "audio_encoder"]
    assert len({layer.activation for layer in audio[:3]}) == 1  # q, k and v read the same
    assert not [layer for layer in layers if layer.graph == "vocoder"]


@pytest.mark.parametrize("name", RECIPES)
def test_named_recipes_match_a_real_bundle(layers: list[Layer], name: str) -> None:
    plan = RECIPES[name].plan(layers)
    assert plan
    high = {layer.name for layer in layers if layer not in plan and layer.graph == "dit_step"}
    assert {"input.weight", "output.weight"} <= high
    assert {layer.graph for layer in plan} >= {"thinker_step", "talker_step"}


@pytest.mark.parametrize("name", RECIPES)
def test_named_recipes_match_a_bundle_without_a_voice(layers: list[Layer], name: str) -> None:
    left = [layer for layer in layers if layer.graph not in SPEECH_GRAPHS]
    plan = RECIPES[name].plan(left, SPEECH_GRAPHS)
    whole = RECIPES[name].plan(layers)
    assert plan == {layer: scheme for layer, scheme in whole.items() if layer in left}
    with pytest.raises(OmnijetError, match="match no layer"):
        RECIPES[name].plan(left)


def test_the_last_rule_decides(layers: list[Layer]) -> None:
    recipe = Recipe(
        "mine", "",
        (Rule("thinker_step", "*", INT4), Rule("thinker_step", "*.down.weight", INT8),
         Rule("thinker_step", "head.weight", None)),
    )  # fmt: skip
    plan = recipe.plan(layers)
    assert {layer.graph for layer in plan} == {"thinker_step"}
    assert "head.weight" not in {layer.name for layer in plan}
    downs = {scheme for layer, scheme in plan.items() if layer.name.endswith("down.weight")}
    others = {scheme for layer, scheme in plan.items() if not layer.name.endswith("down.weight")}
    assert (downs, others) == ({INT8}, {INT4})


def test_rules_that_match_nothing_are_all_told(layers: list[Layer]) -> None:
    recipe = Recipe(
        "mine", "",
        (Rule("thinker_step", "decoder.layer.*", INT4), Rule("thinker_stop", "*", INT4),
         Rule("dit_step", "*", INT8)),
    )  # fmt: skip
    with pytest.raises(OmnijetError, match="2 of 3 rules") as caught:
        recipe.plan(layers)
    assert "did you mean 'thinker_step'" in str(caught.value)
    assert "decoder.layers." in str(caught.value)


def test_what_a_target_must_compute_with() -> None:
    assert RECIPES["orin-int4"].needs == {"int4 weights", "int8 weights"}
    assert RECIPES["ada-fp8"].needs >= {"fp8"}
    assert both("int8").needs == {"int8"}
    mixed = Scheme(INT4.weights, ActivationScheme("fp8"))
    assert mixed.needs == {"int4 weights", "fp8"}
    for name, targets in {
        "orin-int4": ("orin-nano-jp62", "agx-orin-64-jp72"), "orin-int8": ("agx-orin-32-jp62",),
        "ada-fp8": ("rtx-ada", "cuda-hopper", "rtx-blackwell"), "thor-fp8": ("thor-jp70",),
        "cpu-int8": ("cpu",), "cpu-int4": ("cpu",),
    }.items():  # fmt: skip
        for target in targets:
            assert RECIPES[name].needs <= TARGETS[target].numbers
    assert not RECIPES["ada-fp8"].needs <= TARGETS["agx-orin-64-jp62"].numbers


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_every_target_has_a_recipe_that_it_can_run(target: Target) -> None:
    assert recommended(target).runs_on(target)


def test_the_recipes_of_machines() -> None:
    for name, targets in {
        "orin": ("orin-nano-jp62", "orin-nx-jp72", "agx-orin-64-jp72", "rtx-ampere", "cuda-ampere"),
        "thor-fp8": ("thor-jp70", "thor-jp72"), "ada-fp8": ("rtx-ada", "cuda-hopper"),
        "cpu-int4": ("cpu",), "orin-int4": ("cuda",),
    }.items():  # fmt: skip
        assert {recommended(TARGETS[target]).name for target in targets} == {name}


def test_the_recipe_of_an_orin(layers: list[Layer]) -> None:
    """It is `cpu-int4` in standard operators, with shorter blocks."""
    plan = {(one.graph, one.name): scheme for one, scheme in RECIPES["orin"].plan(layers).items()}
    assert RECIPES["orin"].form == "standard"
    for graph in ("thinker_step", "talker_step"):
        assert str(plan[graph, "decoder.layers.0.down.weight"]) == "int4 weights, blocks of 64 AWQ"
        assert str(plan[graph, "head.weight"]) == "int8 weights, blocks of 64"
    for graph, name in (("audio_encoder", "layers.0.q.weight"), ("dit_step", "blocks.0.up.weight"),
                        ("vision_encoder", "blocks.0.qkv.weight")):  # fmt: skip
        assert str(plan[graph, name]).startswith("int8 weights and activations (max")
    assert plan.keys() == {(one.graph, one.name) for one in RECIPES["cpu-int4"].plan(layers)}


@pytest.mark.parametrize(
    ("inputs", "scheme"),
    [
        (2048, "int4 weights, blocks of 128 AWQ"), (448, "int4 weights, blocks of 64 AWQ"),
        (4128, "int4 weights, blocks of 32 AWQ"), (4100, None),
    ],
)  # fmt: skip
def test_a_rule_whose_blocks_do_not_fit_leaves_a_layer_to_an_earlier_one(
    inputs: int, scheme: str | None
) -> None:
    layer = Layer("thinker_step", "decoder.layers.0.down.weight", "", inputs, 256)
    head = Layer("thinker_step", "head.weight", "", 2048, 256)
    absent = "talker_step", "audio_encoder", "vision_encoder", "dit_step"
    found = RECIPES["cpu-int4"].plan([layer, head], absent).get(layer)
    assert (found and str(found)) == scheme


def test_recipes_need_numpy_alone() -> None:
    """A planner applies them on a device, which has neither torch nor onnx."""
    code = f"""if True:
        import sys
        for name in {sorted(HEAVY | {"PIL", "rich", "onnxruntime", "tokenizers", "jinja2"})}:
            sys.modules[name] = None
        from omnijet.quantization.recipes import RECIPES, Layer
        layer = Layer("dit_step", "blocks.0.up.weight", "", 64, 256)
        absent = "thinker_step", "talker_step", "audio_encoder", "vision_encoder"
        print(RECIPES["orin"].plan([layer], absent))
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "int8" in done.stdout, done.stderr


def test_an_unknown_recipe_names_the_near_one() -> None:
    with pytest.raises(OmnijetError, match="did you mean 'orin-int4'"):
        recipe_named("orin-in4")


def test_schemes_say_what_they_are() -> None:
    assert str(Scheme(replace(INT4.weights, scaling=True))) == "int4 weights, blocks of 64 AWQ"
    assert str(both("fp8")) == "fp8 weights and activations (max)"
    assert "0.5" in str(both("int8", migration=0.5))
    mixed = Scheme(INT4.weights, ActivationScheme("fp8"))
    assert str(mixed) == "int4 weights, blocks of 64, fp8 activations (max)"
