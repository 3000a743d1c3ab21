"""Where the same programs run: this machine, and environments of the emulated one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from omnijet.runtime.errors import OmnijetError
from tools.check_arm64.machine import Machine
from tools.check_arm64.questions import MEDIA, QUESTIONS
from tools.check_arm64.wheels import DEBIAN_12, requirements, unpack, unpack_alone

PROGRAMS = Path(__file__).parent
KIT = "opt/kit"
"""Folder of the emulated machine with all that is ours."""
EXTRAS = ("chat", "serve")
OLDER_RELEASE = "1.23.2"
"""ONNX Runtime of Python 3.10: the newest that JetPack 6 can have."""


class Place(Protocol):
    """Where programs of a Python environment run.

    Attributes:
        bundle, media, scratch: folders, as programs of the place see them.
    """

    @property
    def name(self) -> str: ...
    @property
    def bundle(self) -> str: ...
    @property
    def media(self) -> str: ...
    @property
    def scratch(self) -> str: ...

    def python(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Runs the place's interpreter."""


@dataclass(frozen=True, slots=True)
class Here:
    """This machine, in the environment that runs the check."""

    bundle: str
    scratch: str
    name: str = "this machine"
    media: str = str(MEDIA)

    def python(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [sys.executable, *arguments], input=stdin, capture_output=True, text=True,
            env=one_thread,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class There:
    """An environment of the emulated machine."""

    machine: Machine
    environment: str
    name: str
    bundle: str
    media: str = f"/{KIT}/media"
    scratch: str = "/tmp"

    def python(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        named = [
            f"/{KIT}/{Path(one).name}" if Path(one).parent == PROGRAMS else one for one in arguments
        ]
        packages = {"PYTHONPATH": f"/{KIT}/{self.environment}"}
        return self.machine.run(["/usr/bin/python3", *named], stdin, packages)


def furnish(machine: Machine, bundle: Path) -> None:
    """Copies bundle, media and programs into the machine, in place of earlier ones."""
    kit = machine.root / KIT
    for name, source in (("bundle", bundle), ("media", MEDIA)):
        shutil.rmtree(kit / name, ignore_errors=True)
        shutil.copytree(source, kit / name)
    for path in PROGRAMS.glob("*.py"):
        shutil.copy(path, kit / path.name)


def install(machine: Machine, environment: str, wheel: Path, release: str | None = None) -> None:
    """Unpacks the wheel and what it asks for, from wheels alone; keeps what is there already.

    Args:
        release: a release of ONNX Runtime in place of what the wheel asks for.

    Raises:
        OmnijetError: a package has no wheel, or the index cannot be had.
    """
    folder = machine.root / KIT / environment
    wanted = requirements(wheel, DEBIAN_12, EXTRAS, release)
    note = folder / "wanted.json"
    if not note.exists() or json.loads(note.read_text()) != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        unpack(wanted, DEBIAN_12, folder)
        note.write_text(json.dumps(wanted))
    shutil.rmtree(folder / "omnijet", ignore_errors=True)
    unpack_alone(wheel, DEBIAN_12, folder)


def answers(place: Place) -> dict[str, Any]:
    """Returns the answers of a place to all questions. Raises `OmnijetError` if it has none."""
    job = {"bundle": place.bundle, "questions": [one.job(place.media) for one in QUESTIONS]}
    return dict(_said(place, [str(PROGRAMS / "answers.py")], json.dumps(job)))


def served(place: Place) -> dict[str, Any]:
    """Returns the answer of a place's server to a spoken question."""
    sound = f"{place.media}/question.wav"
    return dict(_said(place, [str(PROGRAMS / "served.py"), place.bundle, sound]))


def chatted(place: Place) -> dict[str, Any]:
    """Returns what `omnijet chat` answers to a spoken question, from a file into a file."""
    words = ["-m", "omnijet", "chat", place.bundle, "--input", f"{place.media}/question.wav",
             "--output", f"{place.scratch}/answer.wav", "--fast"]  # fmt: skip
    done = place.python(*words)
    if done.returncode != 0:
        raise _failed(place, words, done)
    return {"text": done.stdout.strip()}


def _said(place: Place, command: Sequence[str], stdin: str = "") -> Any:
    done = place.python(*command, stdin=stdin)
    if done.returncode != 0:
        raise _failed(place, command, done)
    return json.loads(done.stdout)


def _failed(
    place: Place, command: Sequence[str], done: subprocess.CompletedProcess[str]
) -> OmnijetError:
    return OmnijetError(
        f"a program failed on {place.name}",
        where=" ".join(command),
        got="; ".join(done.stderr.strip().splitlines()[-3:]) or f"exit code {done.returncode}",
    )
