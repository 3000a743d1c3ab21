"""Tests of `omnijet eval`: scores of the committed checkpoint, and reported faults."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from omnijet import cli
from omnijet.nano.evaluation.answers import SHUFFLED

ITEMS = 24


def scores(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    code = cli.main(["eval", *map(str, arguments), "--format", "json"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    results = json.loads(captured.out)
    return {score["name"]: score for score in results["scores"]} | {"results": results}


def test_the_checkpoint_understands(
    trained: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    skills = [part for skill in ("hear", "see", "watch", "converse") for part in ("--skill", skill)]
    found = scores(capsys, trained[1], "--items", ITEMS, *skills)
    for skill in ("hear", "see", "watch", "converse"):
        assert found[skill]["items"] == ITEMS
        # at a true share of 95 %, fewer than 20 of 24 have a probability of 1 in 200
        assert found[skill]["value"] >= 20 / ITEMS, found["results"]["failures"]
        assert found[skill]["low"] < found[skill]["value"] <= found[skill]["high"] + 1e-9
    assert found[SHUFFLED]["value"] < 0.7 < found["watch"]["value"]
    seen, unseen = found["hear, seen manners"], found["hear, unseen manners"]
    assert seen["items"] + unseen["items"] == ITEMS


def test_the_checkpoint_speaks(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores.json"
    found = scores(capsys, trained[1], "--items", ITEMS, "--skill", "speak", "--out", out)
    assert json.loads(out.read_text()) == found["results"]
    assert [path.name for path in tmp_path.iterdir()] == ["scores.json"]
    names = ["original audio", "its mel, vocoded", "its codes, DiT and vocoder", "spoken reply"]
    rates = [found[f"speak, {name}"]["value"] for name in names]
    assert rates[0] < 0.1 and rates[1] < 0.25 and rates[2] < 0.25
    assert rates[3] < rates[0] + 0.25
    for name in names:
        voices = [found[f"speak, {name}, {voice}"] for voice in ("Chelsie", "Ethan")]
        assert sum(voice["items"] for voice in voices) == ITEMS


def test_the_table(trained: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", str(trained[1]), "--skill", "see", "--items", "2"]) == 0
    captured = capsys.readouterr()
    assert "not Omnijet-nano" not in captured.err
    table = captured.out
    assert "exact match" in table and "95 % interval" in table and "see" in table


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "nowhere.zip"], "held-out set cannot be read"),
        (["--items", "0"], "whole number from 1"),
        (["--skill", "smell"], "invalid choice"),
        (["--out", "no/such/folder/x.json"], "no/such"),
    ],
)
def test_faults(
    trained: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    try:
        code = cli.main(["eval", str(trained[1]), *arguments])
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    captured = capsys.readouterr()
    assert code == 2 and said in captured.err and "Traceback" not in captured.err


def test_a_missing_recogniser_is_reported_before_any_question(
    trained: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    assert cli.main(["eval", str(trained[1])]) == 2
    assert 'pip install "omnijet[eval]"' in capsys.readouterr().err
