"""Progress as lines is what a bar would draw, for whoever reads stderr."""

from __future__ import annotations

import json

import pytest

from omnijet.runtime.commands import console, progress_lines


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(progress_lines.VARIABLE, progress_lines.LINES)
    monkeypatch.setattr(progress_lines, "PAUSE_S", 0.0)


def said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_stages(lines: None, capsys: pytest.CaptureFixture[str]) -> None:
    with console.stage_progress() as report:
        report("reading \x1b[2J", 1, 3)
        report("writing", 0, 0)
    assert said(capsys) == [
        {"progress": "reading \x1b[2J", "done": 1, "total": 3},
        {"progress": "writing", "done": 0, "total": 0},
    ]


def test_steps_and_bytes(lines: None, capsys: pytest.CaptureFixture[str]) -> None:
    with console.byte_progress() as progress:
        task = progress.add_task("hashing", total=2)
        progress.advance(task)
        progress.advance(task, 1)
    assert said(capsys) == [
        {"progress": "hashing", "done": 1, "total": 2},
        {"progress": "hashing", "done": 2, "total": 2},
    ]


def test_many_calls_are_few_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(progress_lines.VARIABLE, progress_lines.LINES)
    with console.stage_progress() as report:
        for done in range(1001):
            report("writing", done, 1000)
    told = said(capsys)
    assert told[0]["done"] == 0 and told[-1]["done"] == 1000
    assert len(told) < 100


def test_without_the_variable_nothing_changes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(progress_lines.VARIABLE, raising=False)
    with console.stage_progress() as report:
        report("writing", 1, 2)
    assert "progress" not in capsys.readouterr().err
