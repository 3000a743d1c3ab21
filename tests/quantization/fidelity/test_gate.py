"""The gate: defaults, gate files, and verdicts."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from omnijet.nano.evaluation.answers import SHUFFLED
from omnijet.nano.evaluation.paired import ScoreChange, paired_match
from omnijet.nano.evaluation.scores import exact_match
from omnijet.quantization.fidelity.gate import METRICS, default_gate, read_gate


def test_a_file_changes_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "gate.json"
    path.write_text('{"pcm_snr_db": 3, "thinker_top1": null}')
    assert read_gate(path) == {**default_gate(), "pcm_snr_db": 3, "thinker_top1": None}
    path.write_text(json.dumps(default_gate()))
    assert read_gate(path) == default_gate()


def test_the_worst_score_counts_but_not_without_a_sense_of_time() -> None:
    def lost(name: str, errors: int) -> ScoreChange:
        were, are = [True] * 100, [False] * errors + [True] * (100 - errors)
        return paired_match(exact_match(name, were), exact_match(name, are), were, are)

    losses = {m.name: m.value for m in METRICS if m.name.startswith("score_loss")}
    found = SimpleNamespace(scores=(lost("see", 20), lost("hear", 3), lost(SHUFFLED, 90)))
    assert losses["score_loss"](found) == pytest.approx(0.2)
    assert 0.05 < losses["score_loss_sure"](found) < 0.2
    assert losses["score_loss"](SimpleNamespace(scores=())) is None


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_bounds_point_the_right_way(metric) -> None:  # type: ignore[no-untyped-def]
    rising = metric.name.endswith(("_db", "_top1"))
    assert metric.bound == ("at least" if rising else "at most")
    assert metric.holds(1.0, 1.0)
    assert metric.holds(2.0, 1.0) == rising and metric.holds(0.5, 1.0) != rising
    assert not metric.holds(math.nan, 1.0)
