"""Tests that the calibration set and the held-out set share nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

from omnijet.nano.training import calibration, heldout
from omnijet.nano.world import words
from omnijet.nano.world.skills import Item
from omnijet.quantization.calibration.conversations import NANO


def calibrated() -> Iterator[Item]:
    for skill in calibration.SKILLS:
        for number in range(calibration.COUNT):
            yield calibration.draw(skill, Random(f"calibration/{skill}/{number}"))


def held_out() -> Iterator[Item]:
    for skill, count in heldout.COUNTS.items():
        for number in range(count):
            yield heldout.draw(skill, Random(f"held out/{skill}/{number}"))


def seeds(items: Iterator[Item]) -> set[int]:
    """Returns the seeds of all pictures and clips."""
    parts = [part for item in items for turn, _ in item.turns for part in turn]
    return {part.seed for part in parts if hasattr(part, "seed")}


def test_no_string_is_held_out() -> None:
    said = {text for item in calibrated() for text in calibration.texts(item)}
    assert sum(len(text.split()) >= 3 for text in said) > 10
    assert not [text for text in said if words.held_out(text)]
    assert not said & {text for item in held_out() for text in calibration.texts(item)
                       if len(text.split()) >= 3 and words.held_out(text)}  # fmt: skip


def test_pictures_and_clips_are_others() -> None:
    ours = seeds(calibrated())
    assert len(ours) >= 32
    assert not ours & seeds(held_out())


def test_every_skill_has_its_share() -> None:
    skills = [item.skill for item in calibrated()]
    assert all(skills.count(skill) == 16 for skill in ("hear", "see", "watch", "converse"))


def test_it_is_written_where_it_is_read() -> None:
    assert calibration.CALIBRATION == NANO and Path(NANO).is_file()
