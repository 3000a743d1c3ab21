"""Tests the program that interrupts commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tools.interrupts.scenarios import Moment, Scenario
from tools.interrupts.trial import attempt


def test_a_picture_is_interrupted(trained: tuple[Path, Path], tmp_path: Path) -> None:
    picture, out = tmp_path / "picture.png", tmp_path / "out"
    Image.fromarray(np.zeros((1400, 1400, 3), np.uint8)).save(picture)
    out.mkdir()
    command = ("run", str(trained[1]), "--image", str(picture), "--no-speech")
    moment = Moment("vision_encoder", 0.1)
    outcome = attempt(Scenario("picture", command, (moment,), limit=10), moment, "Ctrl-C", out)
    assert outcome.holds and outcome.seconds is not None, outcome


def test_what_a_command_leaves_is_seen(tmp_path: Path) -> None:
    command = ("synthesize", "nano", str(tmp_path / "out" / "left"))
    (tmp_path / "out").mkdir()
    outcome = attempt(Scenario("late", command, ()), Moment(None, 120), "SIGINT", tmp_path / "out")
    assert (outcome.seconds, outcome.code, outcome.left) == (None, 0, ("left",))
