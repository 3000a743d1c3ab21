"""The training loop of a stage: it saves often, resumes after an interruption and logs."""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SAVE_SECONDS = 60.0
REPORT_STEPS = 100

Losses = dict[str, Tensor]
"""The named values of a step; "loss" is minimised."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings of a stage.

    Attributes:
        name: The name of the stage, its state file and its log.
        steps: The number of steps.
        rate: The peak learning rate, which then falls along a cosine to a twentieth.
        warmup: The number of warm-up steps.
        clip: The largest gradient norm.
        decay: The weight decay.
    """

    name: str
    steps: int
    rate: float
    warmup: int = 200
    clip: float = 1.0
    decay: float = 0.01


def stage_parser(about: str | None) -> argparse.ArgumentParser:
    """Returns the command line that all stages share; `about` is the module's docstring."""
    parser = argparse.ArgumentParser(description=(about or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("build/nano"))
    parser.add_argument("--threads", type=int, default=1)
    return parser


def train(plan: Plan, folder: Path, model: nn.Module, step: Callable[[int], Losses]) -> None:
    """Trains `model` until `plan.steps` steps are done.

    The number of a step seeds its random draws, so that an interrupted and resumed run sees
    the same data as an uninterrupted one. Apart from threads and dropout, the same seed gives
    the same weights.

    Args:
        plan: The settings of the stage.
        folder: The folder of the state file and the log.
        model: The model to train, in place.
        step: Computes the losses of a step from its number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state_path, log_path = folder / f"{plan.name}.pt", folder / f"{plan.name}.jsonl"
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=plan.rate, betas=(0.9, 0.98), weight_decay=plan.decay
    )
    done = 0
    if state_path.exists():
        state = torch.load(state_path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["done"]
    model.train()
    sums: dict[str, float] = {}
    counted = 0
    saved = began = time.monotonic()
    for number in range(done, plan.steps):
        for group in optimizer.param_groups:
            group["lr"] = plan.rate * _pace(number, plan)
        losses = step(number)
        optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(parameters, plan.clip)
        if torch.isfinite(norm):
            optimizer.step()
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        counted += 1
        if (number + 1) % REPORT_STEPS == 0:
            line: dict[str, Any] = {"step": number + 1}
            line |= {name: round(value / counted, 4) for name, value in sums.items()}
            line["seconds"] = round(time.monotonic() - began, 1)
            with log_path.open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
            print(plan.name, line, flush=True)
            sums.clear()
            counted = 0
        last = number + 1 == plan.steps
        if last or time.monotonic() - saved > SAVE_SECONDS:
            _save(state_path, model, optimizer, number + 1)
            saved = time.monotonic()
    model.eval()


def _pace(number: int, plan: Plan) -> float:
    if number < plan.warmup:
        return (number + 1) / plan.warmup
    far = (number - plan.warmup) / max(1, plan.steps - plan.warmup)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * far))


def _save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, done: int) -> None:
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "done": done}
    staged = path.with_suffix(".part")
    torch.save(state, staged)
    os.replace(staged, path)
