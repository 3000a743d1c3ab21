"""One verb, many kills: what is at OUT after each, and after the run that follows."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

from tools.kills.child import start
from tools.kills.scene import Scene

Way = Literal["moment", "step", "swap"]
"""A moment of the whole run, a step of its work on files, or a step from before the swap on."""
WAYS: tuple[Way, ...] = ("moment", "step", "swap")
BEFORE_SWAP = 12
"""Steps that count as near: the syncs of the last files, and the note of the swap."""
AGAIN = 0.25
"""How often a killed command is killed again, before one goes to its end."""


@dataclass(frozen=True, slots=True)
class Verb:
    """A command that writes a bundle.

    Attributes:
        bundle: what is at OUT before.
        command: the words after `omnijet`, with OUT in braces.
    """

    name: str
    bundle: Path
    command: Sequence[str]

    def words(self, scene: Scene) -> list[str]:
        """Returns the command for a scene."""
        return [word.replace("{OUT}", str(scene.out)) for word in self.command]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a kill left.

    Attributes:
        was_killed: False: the command had ended before.
        is_old: whether the old bundle was at OUT.
        faults: what must not be, also after a later run to the end.
    """

    verb: str
    way: Way
    was_killed: bool
    is_old: bool
    faults: tuple[str, ...]


def kills(verb: Verb, count: int, rng: Random, folder: Path) -> Iterator[Outcome]:
    """Kills a command as often as that, each time after a new scene or after another kill."""
    scene = Scene.of(folder / "home", verb.bundle)
    seconds, steps, swap = _measured(verb, scene, folder)
    done = 0
    while done < count:
        scene = Scene.of(folder / "home", verb.bundle)
        faults: list[str] = []
        while True:
            way = WAYS[done % len(WAYS)]
            was_killed = _kill(verb, scene, folder, way, rng, (seconds, steps, swap))
            faults = scene.faults()
            again = not faults and done + 1 < count and rng.random() < AGAIN
            if not again:
                was_old = scene.is_old()
                faults += _healed(verb, scene, folder)
                yield Outcome(verb.name, way, was_killed, was_old, tuple(faults))
                done += was_killed or bool(faults)  # a command that always fails is not killed
                break
            yield Outcome(verb.name, way, was_killed, scene.is_old(), ())
            done += was_killed


def _measured(verb: Verb, scene: Scene, folder: Path) -> tuple[float, int, int]:
    """Returns how long a command takes, its steps, and the step of the swap."""
    marks = folder / "marks"
    began = time.monotonic()
    code = _wait(start(verb.words(scene), folder / "said", None, marks))
    took = time.monotonic() - began
    if code:
        raise RuntimeError(f"{verb.name} failed: {(folder / 'said').read_text()[-2000:]}")
    steps, swap = map(int, marks.read_text().split())
    return took, steps, swap


def _kill(
    verb: Verb, scene: Scene, folder: Path, way: Way, rng: Random,
    measured: tuple[float, int, int],
) -> bool:  # fmt: skip
    """Runs the command and kills it; returns whether it had not ended before."""
    seconds, steps, swap = measured
    if way == "moment":
        process = start(verb.words(scene), folder / "said", None)
        time.sleep(rng.uniform(0, seconds))
        os.kill(process, signal.SIGKILL)
    else:
        first = 1 if way == "step" else max(1, swap - BEFORE_SWAP)
        process = start(verb.words(scene), folder / "said", rng.randint(first, steps))
    return _wait(process) == -signal.SIGKILL


def _healed(verb: Verb, scene: Scene, folder: Path) -> list[str]:
    """Runs the command to its end; returns what is not as if no kill had been."""
    code = _wait(start(verb.words(scene), folder / "said", None))
    if code:
        return [f"the next run failed: {(folder / 'said').read_text()[-500:]}"]
    return [*scene.faults(), *(f"left: {name}" for name in scene.left())]


def _wait(process: int) -> int:
    """Waits for the end of a process; returns its code, or the negative number of its signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
