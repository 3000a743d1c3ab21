"""The command lines of all steps are understood, for every target."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import pytest

from omnijet import cli
from omnijet.deployment.deploy.steps import STEPS
from omnijet.engines.targets.target import TARGETS
from omnijet.quantization.recipes import recommended
from tests.deployment.deploy.works import work


@pytest.mark.parametrize("target", TARGETS)
def test_every_command_line_parses(tmp_path: Path, target: str) -> None:
    recipe = recommended(TARGETS[target]).name
    at = work(
        tmp_path / "-d'x y", target=target, recipe=recipe, checkpoint="--checkpoint", context=512,
        data="--data", items=2, text_tokens=3, codes=4, low_memory=True, check_items=1,
        speech=False,
    )  # fmt: skip
    for step in STEPS:
        verb, *words = step.arguments(at)
        assert verb == step.name
        parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
        importlib.import_module(cli.VERBS[verb].module).add_arguments(parser)
        args = parser.parse_args(words)
        if verb == "export":
            assert args.checkpoint == "--checkpoint" and args.no_speech
        if verb == "quantize":
            assert args.data == "--data" and args.recipe == recipe and args.target == target
        if verb == "build":
            is_engine = TARGETS[target].library != "onnxruntime"
            assert args.limit == ([("capacity", 512)] if is_engine else [])
            assert args.bundle == at.folder.bundle
        if verb == "profile":
            assert args.bundle == at.folder.bundle


def test_keys_follow_what_counts(tmp_path: Path) -> None:
    checkpoint = tmp_path / "c"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text("{}")
    base = work(tmp_path / "d", checkpoint=str(checkpoint))
    named = {step.name: step for step in STEPS}

    def keys(**changes: object) -> dict[str, str]:
        at = work(tmp_path / "d", **{"checkpoint": str(checkpoint), **changes})
        return {name: step.key(at) for name, step in named.items()}

    before = keys()
    assert before == {name: step.key(base) for name, step in named.items()}
    for change, touched in (
        ({"dtype": "f32"}, {"export"}),
        ({"recipe": "orin-int8"}, {"plan", "quantize"}),
        ({"context": 4096}, {"plan", "build"}),
        ({"runs": 9}, {"profile"}),
        ({"check_items": 2}, {"check"}),
    ):
        after = keys(**change)
        assert {name for name in named if after[name] != before[name]} == touched, change
    (checkpoint / "config.json").write_text("{ }")
    after = keys()
    assert {name for name in named if after[name] != before[name]} == {"plan", "export"}
