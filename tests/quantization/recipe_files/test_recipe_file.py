"""Recipes of one's own: what a file may say, and that every slip is told with what was meant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from omnijet import cli
from omnijet.quantization.layers import Layer
from omnijet.quantization.quantize import plan_for, quantize_bundle
from omnijet.quantization.recipe_files.recipe_file import read_recipe, recipe_of, to_toml
from omnijet.quantization.recipes import RECIPES, Recipe, Rule
from omnijet.quantization.schemes import Scheme, WeightScheme, both
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.errors import OmnijetError
from tests.command import Capture, refused
from tests.quantization.seen import plausible

MINE = """
purpose = "INT4 in the Thinker alone"

[schemes.small]
weights = "int4"
block = 32
awq = true

[schemes.fast]
weights = "int8"
activations = "int8"
ranging = "mse"
smoothquant = 0.25

[[rules]]
graph = "thinker_step"
layers = "decoder.layers.*"
scheme = "small"

[[rules]]
graph = "dit_step"
layers = "blocks.*"
scheme = "fast"

[[rules]]
graph = "thinker_step"
layers = "*.down.weight"
scheme = "float"
"""


def written(folder: Path, text: str, name: str = "mine.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def faults(folder: Path, text: str) -> str:
    with pytest.raises(OmnijetError) as error:
        read_recipe(written(folder, text))
    return str(error.value)


def told(capsys: Capture, *command: str) -> str:
    assert cli.main(list(command)) == 0
    return capsys.readouterr().out


def test_a_file_is_a_recipe(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, MINE))
    fast = both("int8", "mse", migration=0.25)
    assert recipe == Recipe(
        "mine", "INT4 in the Thinker alone",
        (Rule("thinker_step", "decoder.layers.*", Scheme(WeightScheme("int4", 32, scaling=True))),
         Rule("dit_step", "blocks.*", fast), Rule("thinker_step", "*.down.weight", None)),
    )  # fmt: skip
    assert recipe.needs == {"int4 weights", "int8"}


@pytest.mark.parametrize("name", RECIPES)
def test_every_named_recipe_is_a_file(tmp_path: Path, name: str) -> None:
    assert read_recipe(written(tmp_path, to_toml(RECIPES[name]))) == RECIPES[name]


def test_schemes_of_all_kinds_are_written_as_they_are_read(tmp_path: Path) -> None:
    schemes = [
        Scheme(WeightScheme("int4", 128, scaling=True, compensated=True)),
        Scheme(WeightScheme("int8", 32, symmetric=False)),
        Scheme(WeightScheme("int8", None)),
        both("int8", "percentile"),
        both("int8", "entropy", migration=1.0),
    ]
    rules = tuple(Rule(f"graph_{i}", '"\\[é]*', scheme) for i, scheme in enumerate(schemes))
    recipe = Recipe('a "name"', "why", (*rules, Rule("x", "*", None)), "cpu")
    assert read_recipe(written(tmp_path, to_toml(recipe))) == recipe
    fp8 = Recipe("fp8", "why", (Rule("x", "*", Scheme(WeightScheme("fp8", None))),))
    assert read_recipe(written(tmp_path, to_toml(fp8))) == fp8


def test_names_come_before_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("orin", "own", "own.toml"):
        written(tmp_path, MINE, name)
    assert recipe_of("orin") is RECIPES["orin"]
    assert recipe_of("own") == recipe_of("own.toml") == recipe_of(str(tmp_path / "own.toml"))
    with pytest.raises(OmnijetError, match="did you mean 'orin'"):
        recipe_of("orinn")
    with pytest.raises(OmnijetError, match="cannot be read"):
        recipe_of("orinn.toml")


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    said = faults(tmp_path, """
        purpos = "x"
        form = "cpuu"
        [schemes.a]
        weights = "int44"
        blok = 64
        [schemes.b]
        weights = "int8"
        activations = "int8"
        smoothquant = 1.5
        block = 48
        [schemes.c]
        weights = "int8"
        awq = 1
        [schemes.unused]
        weights = "int4"
        [[rules]]
        graph = "thinker_step"
        layers = "*"
        scheme = "aa"
        [[rules]]
        graph = "thinker_step"
        layer = "*"
        scheme = "c"
    """)  # fmt: skip
    for part in (
        "unknown key 'purpos'; did you mean 'purpose'?",
        "form: expected standard or cpu, got 'cpuu'; did you mean 'cpu'?",
        "schemes.a: unknown key 'blok'; did you mean 'block'?",
        "schemes.a.weights: expected int4 or int8 or fp8, got 'int44'; did you mean 'int4'?",
        "schemes.b.smoothquant: expected a number from 0 to 1, got 1.5",
        "schemes.b.block: expected 32, 64, 128, or 0",
        "schemes.c.awq: expected true or false, got 1",
        "schemes.unused: no rule uses it",
        "rule 1.scheme: there is no scheme 'aa'; did you mean 'a'?",
        "rule 2: unknown key 'layer'; did you mean 'layers'?",
        "rule 2.layers: missing",
    ):
        assert part in said, part
    assert "--print-recipe" in said and "mine.toml" in said


@pytest.mark.parametrize(
    ("scheme", "part"),
    [
        ('weights = "int4"\nblock = 0', "int4 weights need blocks"),
        ('weights = "int4"\nactivations = "int8"', "int8 activations are multiplied with int8"),
        ('weights = "int8"\nactivations = "int8"\nblock = 64', "one scale for each output"),
        ('weights = "fp8"\nblock = 64', "fp8 weights have no blocks"),
        ('weights = "int8"\nblock = 0\nawq = true', "awq: needs blocks"),
        ('weights = "fp8"\ngptq = true', "gptq: needs blocks"),
        ('weights = "int8"\nranging = "mse"', "`activations` is missing"),
        ('weights = "int4"\nzero_points = true', 'form = "cpu" alone'),
        ('weights = "int8"\nactivations = "int8"\nsmoothquant = nan', "a number from 0 to 1"),
        ('block = 64', "weights: missing"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_together(tmp_path: Path, scheme: str, part: str) -> None:
    rule = '[[rules]]\ngraph = "x"\nlayers = "*"\nscheme = "a"\n'
    assert part in faults(tmp_path, f"[schemes.a]\n{scheme}\n{rule}")


def test_files_that_are_no_recipes(tmp_path: Path) -> None:
    rule = '[[rules]]\ngraph = "x"\nlayers = "*"\nscheme = '
    for text, part in (
        ("", "rules: missing"),
        ("rules = 3", "rules: expected a list of 1 to 256, got 3"),
        ("rules = [1]", "rule 1: expected a table, got 1"),
        (f'{rule}["a"]', "rule 1.scheme: expected 1 to 200 printable characters"),
        (f'{rule}"float"', "none of them rounds anything"),
        (f'schemes = 3\n{rule}"float"', "schemes: expected 1 to 256 tables"),
        (f'schemes.a = 3\n{rule}"a"', "schemes.a: expected a table, got 3"),
        (f'[schemes.float]\nweights = "int8"\n{rule}"float"', "stands for layers that stay"),
        (f'name = "\\u001b[2J"\n{rule}"float"', "name: expected 1 to 200 printable characters"),
        (f'name = "orin"\n[schemes.a]\nweights = "int8"\n{rule}"a"', "give another `name`"),
        ("rules = [\n" + '{graph="x",layers="*",scheme="float"},' * 300 + "]", "1 to 256"),
        ("a = ", "cannot be read"),
        ("[" * 3000, "cannot be read"),
        ("#" * (2 << 20), "more than"),
    ):  # fmt: skip
        assert part in faults(tmp_path, text), text[:80]
    with pytest.raises(OmnijetError, match="cannot be read"):
        read_recipe(tmp_path)


def test_patterns_that_match_nothing_are_told_of_the_bundle(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, MINE.replace("decoder.layers", "decoder.layer")))
    layers = [Layer("thinker_step", "decoder.layers.0.down.weight", "", 64, 64),
              Layer("dit_step", "blocks.0.up.weight", "", 64, 64)]  # fmt: skip
    with pytest.raises(OmnijetError, match="1 of 3 rules") as error:
        recipe.plan(layers)
    assert "near is 'decoder.layers.0.down.weight'" in str(error.value)
    assert "recipe mine" in str(error.value)


def test_an_equal_recipe_makes_the_same_bundle(nano: tuple[Path, Path], tmp_path: Path) -> None:
    """Of a file under another name; the manifest says what the graphs need, whatever the name."""
    bundle = Bundle.open(nano[1])
    seen = plausible(bundle)
    same = replace(RECIPES["orin"], name="my-own")
    own = recipe_of(str(written(tmp_path, to_toml(same))))
    made = {
        recipe.name: quantize_bundle(nano[1], tmp_path / recipe.name, recipe,
                                     plan_for(bundle, recipe), seen, processes=0)
        for recipe in (RECIPES["orin"], own)
    }  # fmt: skip
    assert list(made) == ["orin", "my-own"]
    assert made["orin"].files == made["my-own"].files
    facts = [dict(manifest.quantization) for manifest in made.values()]
    assert [one.pop("recipe") for one in facts] == ["orin", "my-own"]
    assert facts[0] == facts[1]
    assert facts[0]["needs"] == ["int4 weights", "int8", "int8 weights"]


def test_the_command(tmp_path: Path, capsys: Capture) -> None:
    """It prints a recipe that it reads again; lists and printing need no bundle."""
    assert "--print-recipe" in told(capsys, "quantize", "--list")
    path = written(tmp_path, told(capsys, "quantize", "--recipe", "orin", "--print-recipe"))
    assert read_recipe(path) == RECIPES["orin"]
    target = told(capsys, "quantize", "--target", "thor-jp72", "--print-recipe")
    assert read_recipe(written(tmp_path, target)) == RECIPES["thor-fp8"]
    assert "no recipe is named" in refused(capsys, "quantize", "--print-recipe")
    assert "no bundle" in refused(capsys, "quantize", "--recipe", str(path))
