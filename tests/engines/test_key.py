"""An engine's key changes with each of its ingredients, and with nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from omnijet.engines.build_options import BuildOptions
from omnijet.engines.key import differences, ingredients, key_of
from omnijet.engines.lowering.fused.choices import CHOICES, choice
from omnijet.engines.plan import Request, make_plan
from omnijet.engines.profiles import profiles_for
from omnijet.engines.targets.target import TARGETS
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.manifest import FileEntry, Manifest

TARGET = TARGETS["rtx-ampere"]
GRAPH = "thinker_step"


def made_of(manifest: Manifest, **changed: Any) -> dict[str, Any]:
    target = changed.get("target", TARGET)
    limits = {**target.limits, **changed.get("limits", {})}
    contract, block = manifest.contracts[GRAPH], manifest.dims.dit.block
    profiles = profiles_for(contract, limits, target.library, block)
    version, options = changed.get("version", "1.7.1.116"), changed.get("options", BuildOptions())
    return ingredients(manifest, GRAPH, target, version, profiles, options)


def rehashed(manifest: Manifest, file: str) -> Manifest:
    return replace(manifest, files={**manifest.files, file: FileEntry(1, "0" * 64)})


def test_each_ingredient_counts(nano: tuple[Path, Path]) -> None:
    manifest = Manifest.read(nano[1])
    before = made_of(manifest)
    quantized = replace(manifest, quantization={"recipe": "orin-int4"})
    changed = {
        "graph": made_of(rehashed(manifest, f"graphs/{GRAPH}.onnx")),
        "weights": made_of(rehashed(manifest, f"graphs/{GRAPH}.weights")),
        "profiles": made_of(manifest, limits={"capacity": 2048}),
        "recipe": made_of(quantized),
        "version": made_of(manifest, version="1.7.2.1"),
        "compute capability": made_of(manifest, target=TARGETS["rtx-ada"]),
        "options": made_of(manifest, options=BuildOptions(optimization_level=5)),
    }
    keys = {key_of(before)}
    for name, other in changed.items():
        assert differences(other, before) == [name]
        keys.add(key_of(other))
    assert len(keys) == len(changed) + 1


def test_another_library_or_flavour(nano: tuple[Path, Path]) -> None:
    manifest = Manifest.read(nano[1])
    limits = {"capacity": 1024, "rows": 128}
    before = made_of(manifest, target=TARGETS["orin-nano-jp72"], limits=limits)
    other = made_of(manifest, target=TARGETS["orin-nano-jp62"], limits=limits)
    assert differences(other, before) == ["lowering"]
    rtx = made_of(manifest, target=TARGETS["rtx-ada"], limits=limits)
    cuda = made_of(manifest, target=TARGETS["cuda-ada"], limits=limits)
    assert rtx["lowering"].startswith("native ") and "int8 blocks" in cuda["lowering"]
    assert "library" in differences(
        made_of(manifest, target=TARGETS["cuda-ampere"]), made_of(manifest)
    )


def test_graphs_for_onnxruntime(nano: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """They have no sizes and no GPU; only what the optimizer saves belongs to a processor."""
    manifest, options = Manifest.read(nano[1]), BuildOptions()

    def made(graph: str, target: str = "cpu", version: str = "1.32.0") -> dict[str, Any]:
        return ingredients(manifest, graph, TARGETS[target], version, (), options)

    before = {graph: made(graph) for graph in ("thinker_step", "vocoder")}
    assert before["vocoder"]["instructions"] and not before["thinker_step"]["instructions"]
    assert "profiles" not in before["vocoder"]
    assert differences(made("vocoder", version="1.33.0"), before["vocoder"]) == ["version"]
    assert differences(made("thinker_step", "cuda"), before["thinker_step"]) == ["lowering"]
    monkeypatch.setattr("omnijet.engines.key.instruction_sets", lambda: ("aarch64", "asimd"))
    assert differences(made("vocoder"), before["vocoder"]) == ["instructions"]
    assert made("thinker_step") == before["thinker_step"]
    other = next(one for one in CHOICES if one is not choice())
    monkeypatch.setattr("omnijet.engines.key.choice", lambda: other)
    assert differences(made("thinker_step"), before["thinker_step"]) == ["fastest"]


def test_what_is_no_ingredient_does_not(nano: tuple[Path, Path]) -> None:
    """Other graphs, limits of symbols that the graph lacks, and names do not change the key."""
    manifest = Manifest.read(nano[1])
    before = key_of(made_of(manifest))
    assert key_of(made_of(rehashed(manifest, "graphs/vocoder.weights"))) == before
    assert key_of(made_of(manifest, limits={"frames": 200, "cells": 64})) == before
    assert key_of(made_of(replace(manifest, name="other", provenance={"when": 1}))) == before


@pytest.mark.parametrize("version", [None, "1.7.1.116"])
def test_the_plan_has_a_key_of_its_own_for_each_graph(nano_f16: Path, version: str | None) -> None:
    plan = make_plan(Bundle.open(nano_f16), Request(TARGET), version)
    assert len({one.key for one in plan}) == len(plan) == 6
    assert {one.status for one in plan} == {"missing"}
