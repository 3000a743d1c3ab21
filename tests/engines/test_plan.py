"""A plan reports what cannot be built before anything is built."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from omnijet import cli
from omnijet.engines.library import Installed, require_able
from omnijet.engines.plan import Request, make_plan, require_possible
from omnijet.engines.process import Progress
from omnijet.engines.targets.target import TARGETS
from omnijet.runtime.bundle.folder import Bundle, rebuild_command
from omnijet.runtime.bundle.manifest import EngineEntry, FileEntry, Manifest, hash_file
from omnijet.runtime.errors import OmnijetError
from tests.command import Capture, refused


def quantized(bundle: Path, recipe: str, needs: object = (), form: str = "standard") -> Bundle:
    opened = Bundle.open(bundle)
    facts = {"recipe": recipe, "form": form, "needs": needs, "layers": {}}
    return replace(opened, manifest=replace(opened.manifest, quantization=facts))


@pytest.mark.parametrize("recipe", ["ada-fp8", "one of my own"])
@pytest.mark.parametrize("target", ["rtx-ampere", "orin-nano-jp72", "cuda-ampere"])
def test_fp8_before_ada(nano_f16: Path, target: str, recipe: str) -> None:
    bundle = quantized(nano_f16, recipe, ["fp8", "int8 weights"])
    with pytest.raises(OmnijetError, match=f"cannot run recipe {recipe}") as error:
        make_plan(bundle, Request(TARGETS[target]), None)
    assert error.value.got == "fp8" and "int4 weights, int8, int8 weights" in str(error.value)
    assert f"--target {target}" in str(error.value.fix)
    assert make_plan(bundle, Request(TARGETS["rtx-ada"]), None)


def test_numbers_that_this_version_does_not_know(nano_f16: Path) -> None:
    bundle = quantized(nano_f16, "fp4", ["fp4"])
    with pytest.raises(OmnijetError, match="cannot run recipe fp4"):
        make_plan(bundle, Request(TARGETS["rtx-blackwell"]), None)


def test_bf16_before_ampere(nano_f16: Path) -> None:
    opened = Bundle.open(nano_f16)
    bundle = replace(opened, manifest=replace(opened.manifest, precision="bf16"))
    with pytest.raises(OmnijetError, match="T4, TensorRT has no bf16") as error:
        require_possible(bundle, Request(TARGETS["t4"]))
    assert "--dtype f16" in str(error.value.fix)
    assert require_possible(bundle, Request(TARGETS["a100-40"]))


@pytest.mark.parametrize("needs", [None, "fp8", [1]])
def test_a_quantized_bundle_that_does_not_say_its_numbers(nano_f16: Path, needs: object) -> None:
    bundle = quantized(nano_f16, "ada-fp8", needs)
    with pytest.raises(OmnijetError, match="does not say which numbers") as error:
        make_plan(bundle, Request(TARGETS["rtx-ada"]), None)
    assert "quantization.needs" in str(error.value) and "again" in str(error.value.fix)


def test_operators_of_a_cpu(nano_f16: Path) -> None:
    bundle = quantized(nano_f16, "cpu-int8", ["int8"], "cpu")
    with pytest.raises(OmnijetError, match="operators") as error:
        make_plan(bundle, Request(TARGETS["rtx-ada"]), None)
    assert "--target rtx-ada" in str(error.value.fix)
    with pytest.raises(OmnijetError, match="operators"):
        make_plan(bundle, Request(TARGETS["cuda"]), None)
    assert len(make_plan(bundle, Request(TARGETS["cpu"]), None)) == 6


def test_a_recipe_is_a_check(nano_f16: Path) -> None:
    request = Request(TARGETS["rtx-ada"], recipe="orin-int4")
    with pytest.raises(OmnijetError, match="another recipe") as error:
        make_plan(Bundle.open(nano_f16), request, None)
    assert "omnijet quantize" in str(error.value.fix) and error.value.got == "floats"
    assert len(make_plan(quantized(nano_f16, "orin-int4"), request, None)) == 6


def test_a_packed_checkpoint_counts_its_layers(nano_f16: Path) -> None:
    facts = {"recipe": "gptq checkpoint", "needs": ["int4 weights"], "bits": 4, "block": 128,
             "layers": {"thinker_step": 28}}  # fmt: skip
    opened = Bundle.open(nano_f16)
    bundle = replace(opened, manifest=replace(opened.manifest, quantization=facts))
    plan = make_plan(bundle, Request(TARGETS["rtx-ada"]), None)
    found = {one.graph: one.precision for one in plan}
    assert found["thinker_step"] == "f16, 28 int4 blocks of 128" and found["vocoder"] == "f32"


def test_options_that_mean_nothing(nano_f16: Path, capsys: Capture) -> None:
    target = ("--target", "rtx-ada")
    said = refused(capsys, "build", nano_f16)
    assert "no target is given" in said and "rtx-ada" in said and "cpu" in said
    assert "'orin'" in refused(capsys, "build", nano_f16, "--target", "orin")
    for option in (("--limit", "capacity=64"), ("--optimization-level", "2")):
        said = refused(capsys, "build", nano_f16, "--target", "cpu", *option)
        assert "take every size" in said and option[0] in said
    assert "polygraphy" in refused(capsys, "build", nano_f16, "--target", "cpu", "--polygraphy")
    assert "'frame'" in refused(capsys, "build", nano_f16, *target, "--limit", "frame=3")
    assert "'talker'" in refused(capsys, "build", nano_f16, *target, "--graphs", "talker")
    assert "no engines" in refused(capsys, "build", nano_f16, *target, "--polygraphy")


def test_engines_are_hashed_once_and_seen(
    nano_f16: Path, rtx: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Engines are gigabytes on a device: the command hashes each once, and its bar is complete."""
    target, graph = "rtx-ada", "vocoder"
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for path in nano_f16.iterdir():
        if path.name != "manifest.json":
            (bundle / path.name).symlink_to(path)
    place = bundle / "engines" / target
    place.mkdir(parents=True)
    manifest = Manifest.read(nano_f16)
    plan = make_plan(Bundle(nano_f16, manifest), Request(TARGETS[target], (graph,)), rtx.version)
    (place / f"{graph}.engine").write_bytes(bytes(20_000_000))
    (place / f"{graph}.json").write_text(json.dumps({"made of": plan[0].made_of}))
    files = {f"engines/{target}/{path.name}": hash_file(path) for path in place.iterdir()}
    entry = EngineEntry(
        f"engines/{target}/{graph}.engine", plan[0].key, "tensorrt_rtx", rtx.version, 89,
        plan[0].profiles, True, 20_000_000, 1, 1.0, 1,
    )  # fmt: skip
    engines = {target: {graph: entry}}
    replace(manifest, engines=engines, files={**manifest.files, **files}).write(bundle)
    hashed: list[str] = []
    told: list[tuple[str, int, int]] = []

    def counted(path: Path, progress: Callable[[int], None] | None = None) -> FileEntry:
        hashed.append(path.name)
        return hash_file(path, progress)

    @contextmanager
    def bars() -> Iterator[Progress]:
        yield lambda *fact: told.append(fact)

    monkeypatch.setattr("omnijet.engines.plan.hash_file", counted)
    monkeypatch.setattr("omnijet.engines.building.stage_progress", bars)
    assert cli.main(["build", str(bundle), "--target", target, "--graphs", graph]) == 0
    assert sorted(hashed) == [f"{graph}.engine", f"{graph}.json"]
    assert {what for what, *_ in told} == {"verifying engines, bytes"}
    assert told[0][1] < told[-1][1] == told[-1][2] == 20_000_000


@pytest.mark.parametrize("level", ["6", "-1", "high"])
def test_levels_that_no_builder_has(nano_f16: Path, capsys: Capture, level: str) -> None:
    command = ["build", str(nano_f16), "--target", "rtx-ada", "--optimization-level", level]
    with pytest.raises(SystemExit):
        cli.main(command)
    assert "--optimization-level" in capsys.readouterr().err


def test_a_library_that_is_not_for_the_target() -> None:
    """The library has another version, or the machine another GPU or none."""
    able = Installed("tensorrt", "python", "10.16.2.10", (), 87)
    require_able(able, TARGETS["orin-nx-jp72"])
    require_able(able, TARGETS["orin-nx-jp62"])  # newer than its graphs need
    with pytest.raises(OmnijetError, match="older") as error:
        require_able(replace(able, version="10.3.0.30"), TARGETS["orin-nx-jp72"])
    assert error.value.got == "10.3.0.30"
    for here, got in ((None, "no GPU"), (110, "SM110")):
        with pytest.raises(OmnijetError, match="on the device itself") as error:
            require_able(replace(able, here=here), TARGETS["orin-nx-jp72"])
        assert error.value.got == got
    ahead = Installed("tensorrt_rtx", "python", "1.7.1.116", (75, 80, 89), None)
    require_able(ahead, TARGETS["rtx-ada"])
    with pytest.raises(OmnijetError, match="does not build for this GPU"):
        require_able(ahead, TARGETS["rtx-ampere"])


def test_a_command_in_a_message_can_be_typed() -> None:
    assert rebuild_command(Path("my bundle"), "orin-nx-jp72") == (
        "omnijet build 'my bundle' --target orin-nx-jp72"
    )
