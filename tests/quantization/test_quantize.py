"""Whole bundles: written by every recipe, checked, asked; faults leave nothing behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omnijet import cli
from omnijet.quantization.budget.parallel import processes
from omnijet.quantization.budget.search import Budget, search
from omnijet.quantization.budget.trials import Bench
from omnijet.quantization.calibration import conversations
from omnijet.quantization.calibration.conversations import open_conversations
from omnijet.quantization.calibration.state import Place
from omnijet.quantization.graph_writer import GraphWriter
from omnijet.quantization.layers import Layer
from omnijet.quantization.numerics.statistics import Statistics
from omnijet.quantization.quantize import (
    Calibration,
    bundle_layers,
    needed_bytes,
    plan_for,
    quantize_bundle,
    statistics_of,
)
from omnijet.quantization.recipes import RECIPES, Recipe, Rule
from omnijet.quantization.schemes import Scheme, WeightScheme
from omnijet.quantization.weight_source import WeightSource
from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.bundle.folder import Bundle, check_files
from omnijet.runtime.bundle.manifest import FILE_NAME, FileEntry
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.omni import Omni
from omnijet.runtime.talk.reply import Reply
from tests.command import Capture, refused
from tests.quantization.few import few_conversations

SHORT = {"greedy": True, "seed": 1, "max_text_tokens": 12, "max_codes": 40}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return few_conversations(tmp_path_factory.mktemp("data"), 4)


@pytest.fixture(scope="module")
def question(data: Path) -> Iterator[list[dict[str, Any]]]:
    """Something that is heard."""
    with open_conversations(data) as found:
        yield found.items[0].messages


@pytest.fixture(scope="module")
def expected(trained: tuple[Path, Path], question: list[dict[str, Any]]) -> Reply:
    """The reply of the float bundle."""
    return Omni.open(trained[1], backend=OrtBackend(threads=1)).generate(question, **SHORT)


@pytest.fixture(scope="module")
def seen(trained: tuple[Path, Path], data: Path) -> Mapping[Place, Statistics]:
    bundle = Bundle.open(trained[1])
    return statistics_of(bundle, bundle_layers(bundle), Calibration(data), lambda *report: None)


def made(source: Path, target: Path, recipe: Recipe, seen: Mapping[Place, Statistics]) -> Omni:
    bundle = Bundle.open(source)
    quantize_bundle(source, target, recipe, plan_for(bundle, recipe), seen)
    return Omni.open(target, backend=OrtBackend(threads=1))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_writes_a_bundle_that_answers(
    trained: tuple[Path, Path], seen: Mapping[Place, Statistics], tmp_path: Path, capsys: Capture,
    question: list[dict[str, Any]], expected: Reply, name: str,
) -> None:  # fmt: skip
    omni = made(trained[1], tmp_path / "out", RECIPES[name], seen)
    manifest = omni.bundle.manifest
    before = Bundle.open(trained[1]).manifest
    layers = manifest.quantization["layers"]
    assert manifest.quantization["recipe"] == name and layers["thinker_step"]
    assert manifest.quantization["needs"] == sorted(RECIPES[name].needs)
    quality = [one["snr_db"] for graph in layers.values() for one in graph.values()]
    assert min(quality) > 8 and np.median(quality) > 15
    for graph, some in layers.items():
        saved = sum(one["float_bytes"] - one["bytes"] for one in some.values())
        smaller = before.graphs[graph].weight_bytes - manifest.graphs[graph].weight_bytes
        assert saved > 0 and smaller > 0.6 * saved  # pages, and scales in f32
    reply = omni.generate(question, **SHORT)
    assert reply.text == expected.text
    assert np.isfinite(reply.audio).all() and reply.audio.std() > 0.1 * expected.audio.std() > 0
    assert cli.main(["check", str(tmp_path / "out")]) == 0
    assert "PASSED" in capsys.readouterr().out


def test_weights_alone_need_no_data(
    trained: tuple[Path, Path], question: list[dict[str, Any]], tmp_path: Path
) -> None:
    omni = made(trained[1], tmp_path / "out", RECIPES["orin-int4"], {})
    schemes = {
        one["scheme"] for one in omni.bundle.manifest.quantization["layers"]["talker_step"].values()
    }
    assert schemes == {"int4 weights, blocks of 64", "int8 weights, blocks of 64"}
    # only the errors of its layers are unknown
    assert cli.main(["check", str(tmp_path / "out"), "--fidelity", "--items", "1"]) == 0
    assert omni.generate(question, speech=False, max_text_tokens=12).text


def test_the_command_and_its_check(
    trained: tuple[Path, Path], data: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = str(tmp_path / "out")
    command = ["quantize", str(trained[1]), out, "--recipe", "orin-int4", "--data", str(data)]
    assert cli.main(command) == 0
    said = capsys.readouterr().out
    assert "thinker_step" in said and "check" in said
    assert Bundle.open(out).manifest.quantization["calibration"]["data"] == data.name
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # the saved calibration is removed
    assert cli.main(["check", out, "--fidelity", "--items", "1", "--steps", "9"]) == 0
    assert "PASSED" in capsys.readouterr().out
    assert "already" in refused(capsys, "quantize", out, tmp_path / "again", "--recipe", "cpu-int8")
    assert "exists" in refused(capsys, *command)


def test_the_set_that_fits_is_the_default_and_named(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    command = ["quantize", str(trained[1]), str(out), "--recipe", "orin-int4"]
    short = ["--items", "1", "--max-text-tokens", "2", "--max-codes", "4"]
    for name, fewest in (("nano", 32_000), ("general", 1000)):
        monkeypatch.setattr(conversations, "FEWEST_WORDS", fewest)
        assert cli.main([*command, *short, "--force"]) == 0
        data = Bundle.open(out).manifest.quantization["calibration"]["data"]
        assert data == f"built in: {name}"


def test_processes_make_the_same_files(
    trained: tuple[Path, Path], seen: Mapping[Place, Statistics], tmp_path: Path
) -> None:
    """With calibration, divisors and lowered weights; each piece goes through a pipe."""
    bundle, recipe = Bundle.open(trained[1]), RECIPES["cpu-int4"]
    plan = plan_for(bundle, recipe)
    alone, beside = (
        quantize_bundle(trained[1], tmp_path / str(n), recipe, plan, seen, processes=n)
        for n in (0, 2)
    )
    assert alone.files == beside.files
    assert check_files(Bundle.open(tmp_path / "2")) == []


def test_engines_need_no_room(trained: tuple[Path, Path]) -> None:
    bundle = Bundle.open(trained[1])
    files = bundle.manifest.files
    built = {**files, "engines/thor-jp72/vocoder.engine": FileEntry(10**12, "0" * 64)}
    with_engines = replace(bundle, manifest=replace(bundle.manifest, files=built))
    assert needed_bytes(with_engines, {}) == sum(entry.bytes for entry in files.values())


def test_faults(trained: tuple[Path, Path], tmp_path: Path, capsys: Capture) -> None:
    bundle, out = trained[1], tmp_path / "out"
    assert "did you mean" in refused(capsys, "quantize", bundle, out, "--recipe", "orin-int5")
    said = refused(
        capsys, "quantize", bundle, out, "--recipe", "ada-fp8", "--target", "agx-orin-64-jp62"
    )  # fmt: skip
    assert "SM87" in said and "fp8" in said and "use --recipe orin or orin-int4 or " in said
    # without a recipe that of the machine is taken, and these round activations
    for target, scheme in (("orin-nano-jp62", "int8 weights and"), ("rtx-ada", "fp8 weights and")):
        said = refused(capsys, "quantize", bundle, out, "--target", target, "--data", "none")
        assert scheme in said and "leave --data out" in said
    command = ("quantize", bundle, out, "--recipe", "orin-int8")
    refused(capsys, *command, "--data", str(tmp_path / "nowhere.jsonl"))
    said = refused(capsys, *command, "--data", "none")
    assert "leave --data out" in said and said.rstrip().endswith("--recipe orin-int4")
    said = refused(capsys, "quantize", bundle, out, "--recipe", "cpu-int8", "--target", "thor-jp72")
    assert "ONNX Runtime" in said and "thor-fp8" in said
    for place in (bundle, bundle / "out", bundle.parent):  # the float bundle must stay unchanged
        options = ("--recipe", "orin-int4", "--data", "none", "--force")
        assert "in the float one" in refused(capsys, "quantize", bundle, place, *options)
    refused(capsys, "quantize", bundle, out, "--recipe", "orin-int4", "--budget", "bytes=2GB")
    refused(capsys, "quantize", bundle, out, "--budget", "bytes=2GB", "--ray", "127.0.0.1:1")
    refused(capsys, "quantize", bundle, out)
    refused(capsys, "quantize", bundle, out, "--budget", "bytes=none")
    for idle in (("--ray", "local"), ("--data", "none", "--items", "3"),
                 ("--data", "none", "--low-memory")):  # fmt: skip
        said = refused(capsys, "quantize", bundle, out, "--recipe", "orin-int4", *idle)
        assert "do nothing" in said and idle[-1 if idle[-1].startswith("--") else -2] in said
    assert not list(tmp_path.iterdir())


def test_a_weight_that_is_not_finite_is_named(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.open(trained[1])
    layer = bundle_layers(bundle)[5]
    source = GraphWriter.source

    def broken(self: GraphWriter, one: Layer) -> WeightSource:
        found = source(self, one)
        if one.name == layer.name:
            values = found.read()
            values[3, 4] = np.nan
            return replace(found, values=values)
        return found

    monkeypatch.setattr(GraphWriter, "source", broken)
    plan = {layer: Scheme(WeightScheme("int8", 32))}
    recipe = Recipe("one", "", (Rule(layer.graph, layer.name, Scheme(WeightScheme("int8", 32))),))
    with pytest.raises(OmnijetError) as caught:
        quantize_bundle(trained[1], tmp_path / "out", recipe, plan, {})
    where = str(caught.value.where)
    assert where.startswith(f"{layer.graph}: {layer.name}") and "input 3, output 4" in where
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_of_a_run_that_was_cut(
    trained: tuple[Path, Path], seen: Mapping[Place, Statistics], tmp_path: Path
) -> None:
    def cut(what: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    bundle, recipe = Bundle.open(trained[1]), RECIPES["cpu-int4"]
    with pytest.raises(KeyboardInterrupt):
        quantize_bundle(
            trained[1], tmp_path / "out", recipe, plan_for(bundle, recipe), seen, progress=cut
        )
    assert not list(tmp_path.iterdir())
    assert (trained[1] / FILE_NAME).is_file()


@pytest.fixture(scope="module")
def bench(
    trained: tuple[Path, Path], data: Path, seen: Mapping[Place, Statistics],
    tmp_path_factory: pytest.TempPathFactory,
) -> Bench:  # fmt: skip
    bench = Bench(trained[1], tmp_path_factory.mktemp("bench"))
    with open_conversations(data) as found:
        bench.prepare([one.messages for one in found.items[:2]], seen)
    return bench


def thinker_layers(bundle: Path, count: int) -> list[Layer]:
    return [one for one in bundle_layers(Bundle.open(bundle)) if one.graph == "thinker_step"][
        :count
    ]


def test_a_trial_is_what_the_bundle_does(
    trained: tuple[Path, Path], bench: Bench, seen: Mapping[Place, Statistics], tmp_path: Path
) -> None:
    """Weights rounded in memory have the same outcome as a quantized graph."""
    scheme = Scheme(WeightScheme("int4", 64, scaling=True))
    plan = {layer: scheme for layer in thinker_layers(trained[1], 8)}
    recipe = Recipe("mine", "", tuple(Rule(one.graph, one.name, scheme) for one in plan))
    quantize_bundle(trained[1], tmp_path / "out", recipe, plan, seen)
    written = Bench(tmp_path / "out", bench.folder)
    exact = OrtBackend(threads=1, integer_products=False)
    outcome, again = bench.run(plan, threads=1), written.outcome_of(Omni.open(
        tmp_path / "out", backend=exact), {"thinker_step"})  # fmt: skip
    assert outcome.harm > 1e-7
    assert again.harm == pytest.approx(outcome.harm, rel=1e-2)
    nothing = bench.run({}, threads=1)
    assert (nothing.harm, nothing.agreement) == (0.0, 1.0)


def test_a_budget_spends_its_bytes_where_they_matter(
    trained: tuple[Path, Path], bench: Bench
) -> None:
    layers = thinker_layers(trained[1], 2)
    whole = sum(layer.float_bytes for layer in layers)
    with processes(2) as run:
        found = search(bench, layers, Budget("bytes", 0.6 * whole), run)
    assert 0 < found.mix.bytes <= 0.6 * whole and found.mix.plan
    assert found.outcome.agreement > 0.9
    recipe = found.recipe("budget")
    assert recipe.plan(bundle_layers(Bundle.open(trained[1]))) == found.mix.plan

    def in_turn(work: object, each: list[object]) -> object:
        return ((number, work(one)) for number, one in enumerate(each))

    kept = search(bench, layers, Budget("fidelity", 1.0), in_turn)
    assert kept.outcome.agreement == 1.0 and kept.mix.bytes <= whole
    with pytest.raises(OmnijetError, match="no mix"):  # refused before anything is tried
        search(bench, layers, Budget("bytes", 10), pytest.fail)


def test_budgets_are_read() -> None:
    assert Budget.parse("bytes=1.5GB") == Budget("bytes", 1.5e9)
    assert Budget.parse("fidelity=0.99") == Budget("fidelity", 0.99)
    for text_ in ("fidelity=1.2", "bytes=-1", "byte=3", "bytes", "fidelity=nan"):
        with pytest.raises(OmnijetError, match="budget"):
            Budget.parse(text_)
