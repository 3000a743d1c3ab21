"""Packages for another machine: its wheels, chosen and unpacked by the pip of this one."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import Requirement

from omnijet.runtime.errors import OmnijetError

ONNXRUNTIME = "onnxruntime"


@dataclass(frozen=True, slots=True)
class Kind:
    """A Python on arm64 Linux.

    Attributes:
        glibc: minor version of the system's glibc 2.x: it runs wheels for this and older ones.
    """

    python: str
    glibc: int

    @property
    def options(self) -> list[str]:
        """The options with which pip chooses wheels for it, and nothing but wheels."""
        tags = [f"manylinux_2_{minor}_aarch64" for minor in range(self.glibc, 16, -1)]
        platforms = [*tags, "manylinux2014_aarch64", "linux_aarch64"]
        digits = self.python.replace(".", "")
        return [
            "--only-binary=:all:", "--python-version", self.python, "--implementation", "cp",
            *(word for abi in (f"cp{digits}", "abi3", "none") for word in ("--abi", abi)),
            *(word for one in platforms for word in ("--platform", one)),
        ]  # fmt: skip


DEBIAN_12 = Kind("3.11", 36)
JETPACK_6 = Kind("3.10", 35)
"""Ubuntu 22.04."""


def requirements(
    wheel: Path, kind: Kind, extras: Sequence[str], onnxruntime: str | None = None
) -> list[str]:
    """Returns what a wheel asks for on this kind of machine, where pip would ask this one.

    Args:
        onnxruntime: a release in place of what the wheel asks for.
    """
    with zipfile.ZipFile(wheel) as file:
        name = next(one for one in file.namelist() if one.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(file.read(name).decode())
    there = {
        "python_version": kind.python, "python_full_version": f"{kind.python}.0",
        "platform_machine": "aarch64", "sys_platform": "linux",
    }  # fmt: skip
    found = []
    for text in metadata.get_all("Requires-Dist") or []:
        one = Requirement(text)
        ways = [{**there, "extra": extra} for extra in ("", *extras)]
        if one.marker is None or any(one.marker.evaluate(way) for way in ways):
            one.marker = None
            found.append(str(one))
    if onnxruntime is not None:
        found = [one for one in found if Requirement(one).name != ONNXRUNTIME]
        found.append(f"{ONNXRUNTIME}=={onnxruntime}")
    return found


def unpack(wanted: Sequence[str], kind: Kind, folder: Path) -> None:
    """Unpacks wheels into a folder that a Python of this kind imports from.

    Raises:
        OmnijetError: there is no wheel, or the index cannot be had.
    """
    _pip("install", "--upgrade", "--target", str(folder), *kind.options, *wanted)


def unpack_alone(wheel: Path, kind: Kind, folder: Path) -> None:
    """Unpacks a wheel without what it asks for."""
    _pip("install", "--no-deps", "--upgrade", "--target", str(folder), *kind.options, str(wheel))


def chosen(wanted: Sequence[str], kind: Kind, scratch: Path) -> list[str]:
    """Returns the packages that such a machine would get, with versions; installs nothing.

    Raises:
        OmnijetError: there is no wheel, or the index cannot be had.
    """
    report = scratch / "chosen.json"
    _pip("install", "--dry-run", "--ignore-installed", "--target", str(scratch / "none"),
         "--report", str(report), *kind.options, *wanted)  # fmt: skip
    facts = [one["metadata"] for one in json.loads(report.read_text())["install"]]
    return sorted(f"{one['name']} {one['version']}" for one in facts)


def _pip(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *arguments],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode != 0:
        lines = [one for one in done.stderr.splitlines() if one.startswith("ERROR")]
        raise OmnijetError(
            "packages for arm64 cannot be had",
            where="pip " + " ".join(arguments[:2]),
            got="; ".join(lines[:3]) or done.stderr.strip()[-300:],
            fix="look whether the Python index can be had here, and start again",
        )
