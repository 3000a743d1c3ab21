"""Tests that an interrupted stage resumes with the same result."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from omnijet.nano.training import stage
from omnijet.nano.training.stage import Losses, Plan, train

PLAN = Plan("little", steps=40, rate=5e-2, warmup=5)


class Cut(Exception):
    pass


def run(folder: Path, stop_at: int | None = None) -> nn.Linear:
    torch.manual_seed(0)
    net = nn.Linear(4, 1)

    def step(number: int) -> Losses:
        if number == stop_at:
            raise Cut
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(number))
        return {"loss": (net(x) - x.sum(1, keepdim=True)).square().mean()}

    train(PLAN, folder, net, step)
    return net


def test_resumed_equals_unbroken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "SAVE_SECONDS", 0.0)
    whole = run(tmp_path / "whole")
    with pytest.raises(Cut):
        run(tmp_path / "cut", stop_at=23)
    resumed = run(tmp_path / "cut")
    torch.testing.assert_close(resumed.weight, whole.weight, rtol=0, atol=0)


def test_it_learns_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    torch.manual_seed(0)
    start = nn.Linear(4, 1).weight
    end = run(tmp_path).weight
    assert (end - 1).abs().mean() < 0.5 * (start - 1).abs().mean()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["little.pt"]
