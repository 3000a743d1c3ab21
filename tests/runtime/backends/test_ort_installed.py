"""Each release of ONNX Runtime takes the graphs that it can run, or says how to get some."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from omnijet.engines.targets.target import TARGETS
from omnijet.runtime.backends import ort_installed
from omnijet.runtime.backends.ort_installed import cpu_target, reads_graphs, require_release
from omnijet.runtime.backends.ort_release import FORMS, NEWER, OLDER, release_of
from omnijet.runtime.errors import OmnijetError


@pytest.mark.parametrize(
    ("version", "target", "reads"),
    [
        ("1.32.0", NEWER, True), ("1.25.0", NEWER, True), ("2.0.1", NEWER, True),
        ("1.24.4", OLDER, False), ("1.23.2", OLDER, False), ("1.22.0", OLDER, False),
        ("unknown", OLDER, False),
    ],
)  # fmt: skip
def test_a_release_has_its_target(
    monkeypatch: pytest.MonkeyPatch, version: str, target: str, reads: bool
) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", version)
    assert (cpu_target(), reads_graphs()) == (target, reads)
    if reads:
        require_release()
        return
    with pytest.raises(OmnijetError, match="too old"):
        require_release()


@pytest.mark.parametrize(
    ("version", "python", "said", "unsaid"),
    [
        ("1.23.2", (3, 10), "omnijet build '/a b/c' --target cpu", "pip install -U"),
        ("1.23.2", (3, 12), "pip install -U onnxruntime", "omnijet build"),
        ("1.20.0", (3, 10), "pip install -U onnxruntime", "omnijet build"),
    ],
)
def test_the_way_out_is_one_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, version: str, python: tuple[int, int], said: str, unsaid: str
) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", version)
    monkeypatch.setattr(ort_installed, "PYTHON", python)
    with pytest.raises(OmnijetError, match="too old") as caught:
        require_release(Path("/a b/c"))
    assert said in str(caught.value.fix) and unsaid not in str(caught.value.fix)


def test_the_targets_are_those_of_the_builder() -> None:
    for name, oldest in FORMS.items():
        target = TARGETS[name]
        assert target.library == "onnxruntime" and target.toolkit.oldest == oldest
        assert (target.toolkit.made_for is not None) == (name == OLDER)
        assert target.toolkit.made_for in (None, ".".join(map(str, oldest)))


def test_a_version_without_numbers_is_older_than_all() -> None:
    assert release_of("1.23.2") == (1, 23)
    assert release_of("built here") < release_of("0.1")
