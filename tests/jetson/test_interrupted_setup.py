"""Setting up and undoing, killed at many moments: both can be completed, and both can be undone.

A moment is before a simple command of the shell. Nothing is told of the kill, as when power fails.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.jetson.fakes import Jetson, Tree, bundle, fake_jetson

STEPS = ("packages", "environment", "groups", "power", "clocks", "swap", "headless", "sound",
         "service", "greeting")  # fmt: skip
PARTS = 6
"""Moments that are tried of each script, spread over it."""


@dataclass(frozen=True)
class Course:
    """A setup and its undoing, once without an interruption.

    Attributes:
        words: of setup.sh.
        before, after: the machine.
        setting_up, undoing: how many moments each has.
    """

    folder: Path
    words: tuple[str, ...]
    before: Tree
    after: Tree
    setting_up: int
    undoing: int

    def machine(self, name: str) -> Jetson:
        """Returns a copy of the machine as it was `before` or `after`."""
        home = self.folder / "trial"
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(self.folder / name, home, symlinks=True)
        return Jetson(home)


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Course:
    folder = tmp_path_factory.mktemp("course")
    words = ("--bundle", str(bundle(folder)), "--yes", *STEPS)
    made = fake_jetson(folder)
    jetson = Jetson(made.root.rename(folder / "trial"))  # so that all have one path
    before = jetson.tree()
    shutil.copytree(jetson.root, folder / "before", symlinks=True)
    setting_up = moments(jetson, "setup.sh", *words)
    after = jetson.tree()
    shutil.copytree(jetson.root, folder / "after", symlinks=True)
    undoing = moments(jetson, "uninstall.sh", "--yes")
    assert jetson.tree() == before != after
    return Course(folder, words, before, after, setting_up, undoing)


def moments(jetson: Jetson, script: str, *words: str) -> int:
    """Runs a script to its end and counts its moments."""
    done = jetson.run(script, *words, moment=10**9)
    assert done.returncode == 0, done.stderr
    return int((jetson.root.parent / "count").read_text())


def spread(count: int, part: int, parts: int = PARTS) -> int:
    return 1 + (count - 1) * (2 * part + 1) // (2 * parts)


def try_setup(course: Course, moment: int) -> None:
    """Kills a setup; it is completed, or undone, and ends as if nothing had happened."""
    jetson = course.machine("before")
    killed = jetson.run("setup.sh", *course.words, moment=moment)
    assert killed.returncode == -9
    broken = course.folder / "broken"
    shutil.rmtree(broken, ignore_errors=True)
    shutil.copytree(jetson.root, broken, symlinks=True)
    assert jetson.run("setup.sh", *course.words).returncode == 0
    assert jetson.tree() == course.after
    jetson = course.machine("broken")
    assert jetson.run("uninstall.sh", "--yes").returncode == 0
    assert jetson.tree() == course.before


def try_undoing(course: Course, moment: int) -> None:
    """Kills an undoing; it is completed, or all is set up again."""
    jetson = course.machine("after")
    assert jetson.run("uninstall.sh", "--yes", moment=moment).returncode == -9
    broken = course.folder / "broken"
    shutil.rmtree(broken, ignore_errors=True)
    shutil.copytree(jetson.root, broken, symlinks=True)
    assert jetson.run("uninstall.sh", "--yes").returncode == 0
    assert jetson.tree() == course.before
    jetson = course.machine("broken")
    assert jetson.run("setup.sh", *course.words).returncode == 0
    assert jetson.tree() == course.after


@pytest.mark.parametrize("part", range(PARTS))
def test_a_setup_that_was_killed(part: int, course: Course) -> None:
    try_setup(course, spread(course.setting_up, part))


@pytest.mark.parametrize("part", range(PARTS))
def test_an_undoing_that_was_killed(part: int, course: Course) -> None:
    try_undoing(course, spread(course.undoing, part))


def test_ctrl_c_says_how_to_go_on(course: Course) -> None:
    jetson = course.machine("before")
    slow = jetson.root / "usr/bin/mkswap"
    slow.write_text("#!/bin/sh\nkill -INT $PPID\nsleep 0.2\nexit 1\n")
    done = subprocess.run(
        ["bash", "-c", 'trap - INT; exec "$@"', "x", "bash", "jetson/setup.sh", *course.words],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env={**os.environ, "OMNIJET_MACHINE_ROOT": str(jetson.root), "SUDO_USER": "ada"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert done.returncode == 130 and "interrupted in the step swap" in done.stderr, done.stderr
    shutil.copy(course.folder / "before/usr/bin/mkswap", slow)
    assert jetson.run("uninstall.sh", "--yes").returncode == 0
    assert jetson.tree() == course.before
