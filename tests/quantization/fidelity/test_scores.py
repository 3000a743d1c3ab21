"""Scores of both bundles are compared item by item."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from omnijet import cli
from omnijet.nano.evaluation.heldout import open_set
from omnijet.nano.evaluation.paired import paired_match
from omnijet.nano.evaluation.scores import exact_match
from omnijet.quantization.fidelity import plots as fidelity_plots
from omnijet.quantization.fidelity.scores import score_changes
from omnijet.runtime.bundle.folder import Bundle
from tests.command import Capture


def test_what_is_lost_to_a_random_bundle_and_nothing_to_oneself(
    trained: tuple[Path, Path], nano: tuple[Path, Path]
) -> None:
    bundle, told = Bundle.open(trained[1]), []
    with open_set() as items:
        see = [item for item in items if item.skill == "see"][:2]
        (same,) = score_changes(bundle, bundle, see, lambda *said: told.append(said))
        (worse,) = score_changes(bundle, Bundle.open(nano[1]), see, lambda *said: None)
    assert same.before.name == "see" and same.before.items == 2
    assert same.before == same.after and same.difference == 0
    assert {what for what, _, _ in told} == {"float: see", "quantized: see"}
    assert worse.after.value == 0 < worse.before.value == worse.loss


def test_a_missing_recogniser_is_told_before_any_work(
    trained: tuple[Path, Path], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    command = ["check", trained[1], "--fidelity", "--float", trained[1], "--scores"]
    assert cli.main([str(part) for part in command]) == 2
    assert 'pip install "omnijet[eval]"' in capsys.readouterr().err


def test_a_plot_has_both_intervals() -> None:
    were, are = [True] * 9 + [False], [True] * 7 + [False] * 3
    change = paired_match(exact_match("see", were), exact_match("see", are), were, are)
    drawn = fidelity_plots.scores([change])
    assert "float: 90.0 %" in drawn and "quantized: 70.0 %" in drawn and "-20.0 (" in drawn
    assert drawn.count("<rect") == 2
