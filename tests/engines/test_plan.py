"""What cannot be built is told before anything is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engines.library import Installed, require_able
from engines.plan import Request, make_plan
from engines.targets import TARGETS
from runtime.bundle import Bundle
from runtime.errors import OmnijetError
from tests.command import Capture, refused


def quantized(bundle: Path, recipe: str, form: str = "standard") -> Bundle:
    opened = Bundle.open(bundle)
    facts = {"recipe": recipe, "form": form, "layers": {}}
    return replace(opened, manifest=replace(opened.manifest, quantization=facts))


@pytest.mark.parametrize("target", ["rtx-ampere", "orin-nano-jp72", "cuda-ampere"])
def test_fp8_before_ada(nano_f16: Path, target: str) -> None:
    bundle = quantized(nano_f16, "ada-fp8")
    with pytest.raises(OmnijetError, match="cannot run recipe ada-fp8") as error:
        make_plan(bundle, Request(TARGETS[target]), None)
    assert "fp8" in str(error.value.got) and "orin-int4" in str(error.value.fix)
    assert make_plan(bundle, Request(TARGETS["rtx-ada"]), None)


def test_operators_of_a_cpu(nano_f16: Path) -> None:
    bundle = quantized(nano_f16, "cpu-int8", "cpu")
    with pytest.raises(OmnijetError, match="operators") as error:
        make_plan(bundle, Request(TARGETS["rtx-ada"]), None)
    assert "orin-int8" in str(error.value.fix)


def test_a_recipe_is_a_check(nano_f16: Path) -> None:
    request = Request(TARGETS["rtx-ada"], recipe="orin-int4")
    with pytest.raises(OmnijetError, match="another recipe") as error:
        make_plan(Bundle.open(nano_f16), request, None)
    assert "omnijet quantize" in str(error.value.fix) and error.value.got == "floats"
    assert len(make_plan(quantized(nano_f16, "orin-int4"), request, None)) == 6


def test_options_that_mean_nothing(nano_f16: Path, capsys: Capture) -> None:
    target = ("--target", "rtx-ada")
    assert "no target is given" in refused(capsys, "build", nano_f16)
    assert "'orin'" in refused(capsys, "build", nano_f16, "--target", "orin")
    assert "nothing to build" in refused(capsys, "build", nano_f16, "--target", "cpu")
    assert "'frame'" in refused(capsys, "build", nano_f16, *target, "--limit", "frame=3")
    assert "'talker'" in refused(capsys, "build", nano_f16, *target, "--graphs", "talker")
    assert "no engines" in refused(capsys, "build", nano_f16, *target, "--polygraphy")


def test_a_library_that_is_not_for_the_target() -> None:
    """Another version, another GPU, none."""
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
