"""The program that measures what a second replica is worth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.serving.replicas import Measured, _report


def run(replicas: int, answers: int, *wrong: str) -> Measured:
    busy = {"replicas": 8.0, "entrance": 1.0, "Ray": 0.5, "clients": 0.5}
    by = {"a": answers - answers // 2, "b": answers // 2}
    return Measured(replicas, 10, by, [0.25] * answers, list(wrong), busy, 1.5)


def test_the_gain_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "found.json"
    assert _report([run(0, 20), run(1, 20), run(2, 37)]).tell(path) == 0
    said = capsys.readouterr().out
    assert "1.85 x" in said and "19 + 18" in said
    assert json.loads(path.read_text())["gain"] == pytest.approx(1.85)


@pytest.mark.parametrize(
    "runs",
    [
        [run(0, 9), run(1, 9), run(2, 9)],
        [run(0, 9), run(1, 9, "expected 'one', got 'two'"), run(2, 18)],
    ],
)
def test_no_gain_and_wrong_answers_fail(runs: list[Measured]) -> None:
    assert _report(runs).tell(None) == 1
