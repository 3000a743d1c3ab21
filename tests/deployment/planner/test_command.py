"""`omnijet plan`: tables and JSON, the best choice with commands that parse, a plot, faults."""

from __future__ import annotations

import argparse
import importlib
import json
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from omnijet import cli
from omnijet.deployment.planner.fidelity import LEAST, WAVE_DB, is_enough, same_codes
from omnijet.deployment.planner.model import Model
from omnijet.deployment.planner.ranking import ranked
from omnijet.deployment.planner.typed import commands
from omnijet.engines.targets.target import TARGETS
from omnijet.quantization.recipes import RECIPES
from omnijet.runtime.speech.presets import PRESETS
from tests.layering import HEAVY
from tests.machines import fake_machine

Capture = pytest.CaptureFixture[str]


def said(capsys: Capture, *command: str) -> str:
    assert cli.main(["plan", *command]) == 0
    return capsys.readouterr().out


def loaded(capsys: Capture, *command: str) -> dict[str, Any]:
    data = json.loads(said(capsys, "--format", "json", *command))
    assert isinstance(data, dict)
    return data


def test_a_plan_tells_memory_speed_and_the_first_sound(capsys: Capture) -> None:
    text = said(capsys, "3b", "--target", "orin-nano-jp72")
    for word in ("KV caches", "CUDA and TensorRT", "first sound", "tokens/s", "largest square"):
        assert word in text, word
    assert "predicted" in text and "\nfits\n" in text
    assert "102 GB/s" in text  # what the owner of an Orin Nano must know
    text = said(capsys, "7b", "--target", "orin-nano-jp72")
    assert "does not fit" in text and "6.5 GB that are usable" in text


def test_the_order_of_deploy_is_understood(capsys: Capture, tmp_path: Path) -> None:
    plan = loaded(
        capsys, "--target=agx-orin-64-jp62", "--recipe=orin-int8", "--context=4096", "--", "3b"
    )
    assert (plan["recipe"], plan["context"], plan["fits"]) == ("orin-int8", 4096, True)
    assert plan["speeds"]["decode"]["is"] == "predicted"


def test_all_targets_are_listed(capsys: Capture) -> None:
    plans = loaded(capsys, "7b")["plans"]
    assert [plan["target"] for plan in plans] == list(TARGETS)
    fits = {plan["target"]: plan["fits"] for plan in plans}
    assert fits["agx-orin-64-jp72"] and not fits["orin-nano-jp72"]
    assert "rtx-4090" in said(capsys, "3b")


def test_the_context_and_pictures_that_are_asked_for_count(capsys: Capture) -> None:
    small = loaded(capsys, "--target", "orin-nano-jp62", "--context", "2048", "--cells", "256")
    usual = loaded(capsys, "--target", "orin-nano-jp62")
    assert small["fits"] and not usual["fits"]
    assert small["limits"]["largest square picture"]["value"] == 448


def parses(line: str) -> argparse.Namespace:
    program, verb, *words = shlex.split(line)
    assert program == "omnijet"
    parser = argparse.ArgumentParser(exit_on_error=False)
    importlib.import_module(cli.VERBS[verb].module).add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize("target", TARGETS)
def test_the_commands_of_the_best_parse(target: str) -> None:
    model = Model.named("3b")
    found = ranked(model.dims, TARGETS[target], presets=("balanced",), least_context=2048)
    lines = commands(model, found[0], TARGETS[target])
    parsed = {line.split()[1]: parses(line) for line in lines}
    assert list(parsed) in (["export", "quantize", "build", "chat"], ["export", "build", "chat"])
    if "quantize" in parsed:
        recipe = parsed["quantize"].recipe
        assert RECIPES[recipe].runs_on(TARGETS[target])
        assert Path(parsed["build"].bundle) == parsed["quantize"].out == Path(f"3b-{recipe}")
    assert parsed["build"].target == target
    assert parsed["chat"].engines in (target, None)


def test_the_best_fits_and_is_heard_first(capsys: Capture) -> None:
    data = loaded(capsys, "3b", "--target", "orin-nano-jp62", "--fit")
    choices = data["choices"]
    assert choices[0]["fits"] and choices[0]["recipe"] == "orin" and choices[0]["cells"] == 256
    waits = [
        sum(stage["value"] for stage in one["first_pcm"].values())
        for one in choices
        if one["fits"] and one["speeds"]["real-time factor"]["value"] <= 1
    ]
    assert waits == sorted(waits) and waits
    assert any("--limit cells=256" in line for line in data["commands"])
    text = said(capsys, "3b", "--target", "orin-nano-jp62", "--fit")
    assert "best" in text and "to make the best:" in text and "omnijet build 3b-orin" in text


def test_more_fidelity_costs_time(capsys: Capture) -> None:
    waits = []
    for fidelity in LEAST:
        best = loaded(capsys, "--target", "agx-orin-64-jp72", "--fit", "--fidelity", fidelity)
        first = best["choices"][0]
        assert is_enough(fidelity, first["recipe"], first["preset"])
        waits.append(sum(stage["value"] for stage in first["first_pcm"].values()))
    assert waits == sorted(waits) and waits[0] < waits[-1]


def test_fidelity_is_known_of_every_recipe_and_preset() -> None:
    assert all(same_codes(recipe) is not None for recipe in RECIPES)
    assert set(WAVE_DB) == set(PRESETS)
    assert not is_enough("good", "a recipe of one's own", "exact")


def test_a_plot_is_drawn(capsys: Capture, tmp_path: Path) -> None:
    file = tmp_path / "plan.svg"
    said(capsys, "--target", "orin-nano-jp72", "--fit", "--plot", str(file))
    root = ET.parse(file).getroot()
    assert root.tag.endswith("svg")
    texts = "".join(root.itertext())
    assert "first sound" in texts and "predicted" in texts and "orin, balanced, " in texts


def test_a_bundle_is_planned_with_its_own_numbers(capsys: Capture, nano: tuple[Path, Path]) -> None:
    plan = loaded(capsys, str(nano[1]), "--target", "thor-jp72", "--recipe", "floats")
    assert plan["precision"] == "f32" and plan["model"] == nano[1].name
    manifest = json.loads((nano[1] / "manifest.json").read_text())
    for graph, entry in manifest["graphs"].items():
        assert plan["disk_bytes"][graph]["value"] == pytest.approx(entry["weight_bytes"], rel=0.02)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["--target", "orin"], "there is no target"),
        (["--recipe", "int5", "--target", "cpu"], "there is no recipe"),
        (["no-such-model"], "there is no such model"),
        (["--fit"], "a device is needed"),
        (["--context", "99999999", "--target", "cpu"], "outside the model's range"),
        (["--target", "thor-jp72", "--fit", "--fidelity", "best", "--preset", "fast"],
         "nothing keeps the fidelity"),
    ],
)  # fmt: skip
def test_faults_say_the_way_out(capsys: Capture, command: list[str], told: str) -> None:
    assert cli.main(["plan", *command]) == 2
    shown = capsys.readouterr()
    assert told in shown.err and not shown.out and "Traceback" not in shown.err


def test_this_machine_is_measured(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    place = "omnijet.deployment.planner.command"
    monkeypatch.setattr(f"{place}.read_bandwidth", lambda size, threads: 65.4e9)
    monkeypatch.setattr(f"{place}.matmul_peak", lambda threads: 382e9)
    usual = loaded(capsys, "--target", "cpu")
    twice = loaded(capsys, "--target", "cpu", "--measure")
    assert "measured now" in twice["basis"]
    rates = [plan["speeds"]["prefill"]["value"] for plan in (usual, twice)]
    assert rates[1] == pytest.approx(2 * rates[0], rel=0.05)


def test_auto_is_the_machine_that_the_files_describe(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMNIJET_MACHINE_ROOT", str(fake_machine(tmp_path, "orin-nano-jp62")))
    assert loaded(capsys, "--target", "auto")["target"] == "orin-nano-jp62"


def test_a_processor_here_has_the_memory_of_the_machine(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMNIJET_MACHINE_ROOT", str(fake_machine(tmp_path, "pc")))
    plan = loaded(capsys, "--target", "auto")
    assert plan["target"] == "cpu" and plan["device_bytes"]["value"] > 6e10
    assert not loaded(capsys, "7b", "--target", "auto", "--recipe", "floats")["faults"]


def test_a_recipe_of_ones_own_is_planned(capsys: Capture, tmp_path: Path) -> None:
    assert cli.main(["quantize", "--print-recipe", "--recipe", "orin-int4"]) == 0
    file = tmp_path / "mine.toml"
    file.write_text(capsys.readouterr().out.replace('"orin-int4"', '"mine"'))
    plan = loaded(capsys, "--target", "orin-nx-jp72", "--recipe", str(file))
    named = loaded(capsys, "--target", "orin-nx-jp72", "--recipe", "orin-int4")
    assert plan["needed_bytes"] == named["needed_bytes"]
    fit = ["--target", "orin-nx-jp72", "--fit", "--fidelity", "any", "--recipe", str(file)]
    quantize = next(line for line in loaded(capsys, *fit)["commands"] if "quantize" in line)
    assert parses(quantize).recipe == str(file)


def test_it_needs_the_base_install_alone() -> None:
    code = "import sys, omnijet.deployment.planner.command; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & {name.split(".")[0] for name in done.stdout.split()}


def test_a_card_may_have_another_memory(capsys: Capture) -> None:
    fit = ["7b", "--target", "rtx-ampere", "--fit", "--preset", "balanced"]
    small, large = (loaded(capsys, *fit, *more) for more in ((), ("--memory", "24GB")))
    sizes = [one["choices"][0]["device_bytes"]["value"] for one in (small, large)]
    assert sizes == [12e9, 24e9]
    (build,) = (line for line in large["commands"] if " build " in line)
    assert parses(build).memory == 24 and "--memory" not in " ".join(small["commands"])
