"""Builds over an existing bundle that are killed at some moment, and what they may leave behind.

`prepare` once, then `trial` as often as wanted, each with another delay.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from omnijet.runtime.bundle.folder import Bundle, check_files
from omnijet.runtime.bundle.manifest import ENGINES
from omnijet.runtime.errors import OmnijetError
from tests.engines.fake_library import fake_interpreter

TARGET = "rtx-ampere"
GRAPHS = ("audio_encoder", "vision_encoder")
OWN = "a user's own file\n"
OWN_IN_BUNDLE = (f"{ENGINES}/notes.txt", f"{ENGINES}/{TARGET}/mine.engine", "README.txt")
UNLISTED = "not in the manifest"
LONGEST_S = 120


@dataclass(frozen=True, slots=True)
class Scene:
    """A bundle with engines, and files of a user in it and beside it."""

    bundle: Path
    python: Path
    own: tuple[Path, ...]


def prepare(bundle: Path) -> Scene:
    """Builds the engines of two graphs into a bundle, which is alone in its folder."""
    beside = bundle.with_name(f".{bundle.name}.engines")  # looks like ours
    own = (*(bundle / name for name in OWN_IN_BUNDLE), beside / "keep.txt")
    scene = Scene(bundle, fake_interpreter(bundle.parent), own)
    for path in own:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(OWN, encoding="utf-8")
    faults = healed(scene)
    assert not faults, faults
    return scene


def trial(scene: Scene, delay_s: float) -> list[str]:
    """Builds anew, kills the build after a while, and builds again.

    Returns:
        One line for each thing that is not as it must be: none.
    """
    process = _start(scene, "--force")
    try:
        process.wait(delay_s)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    return [*faults_after_kill(scene), *healed(scene)]


def faults_after_kill(scene: Scene) -> list[str]:
    """Returns what is wrong with a bundle whose build was killed: unlisted files are not."""
    return [*_of_files(scene, f": {UNLISTED}"), *_of_user(scene)]


def healed(scene: Scene) -> list[str]:
    """Builds to the end; returns what is wrong afterwards."""
    process = _start(scene)
    said = process.communicate(timeout=LONGEST_S)[0]
    if process.returncode:
        return [f"the next build fails: {said[-500:]}"]
    own = {f"{name}: {UNLISTED}" for name in OWN_IN_BUNDLE}
    faults = [fault for fault in _of_files(scene) if fault not in own]
    known = {scene.bundle, scene.python, scene.bundle.with_name(f".{scene.bundle.name}.engines")}
    faults += [f"{path} is left" for path in scene.bundle.parent.iterdir() if path not in known]
    return [*faults, *_of_user(scene)]


def _of_files(scene: Scene, allowed: str = "\0") -> list[str]:
    try:
        faults = check_files(Bundle.open(scene.bundle))
    except OmnijetError as error:
        return [str(error)]
    return [fault for fault in faults if not fault.endswith(allowed)]


def _of_user(scene: Scene) -> list[str]:
    lost = [path for path in scene.own if not path.is_file() or path.read_text() != OWN]
    return [f"{path} of the user is gone or changed" for path in lost]


def _start(scene: Scene, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "omnijet", "build", str(scene.bundle), "--target", TARGET,
         "--graphs", *GRAPHS, "--python", str(scene.python), *options],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        cwd=Path(__file__).parent.parent.parent,
    )  # fmt: skip
