"""A folder with an old bundle and files of a user in, beside and behind links from it."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from omnijet.runtime.bundle.folder import Bundle, check_files
from omnijet.runtime.bundle.manifest import ENGINES, FILE_NAME
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.removal import content

OUT, KEPT = "out", "out.kept-"
BESIDE = ("beside.txt", "precious/one.txt", "precious/deep/two.txt", ".out.work-user/thesis.txt")
WITHIN = ("notes.txt", f"{ENGINES}/mine.txt", "graphs/mine.txt")
LINKS = {"linked": "../precious", f"{ENGINES}/linked": "../../precious/deep"}
"""Links in the bundle."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A folder in which a command works.

    Attributes:
        home: holds OUT and the files beside it.
        old: the manifest of the old bundle.
    """

    home: Path
    old: bytes

    @staticmethod
    def of(home: Path, bundle: Path) -> Scene:
        """Makes a new scene around a copy of a bundle."""
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        shutil.copytree(bundle, home / OUT)
        for name in (*BESIDE, *(f"{OUT}/{name}" for name in WITHIN)):
            path = home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_text(name))
        for name, target in LINKS.items():
            (home / OUT / name).symlink_to(target)
        return Scene(home, (home / OUT / FILE_NAME).read_bytes())

    @property
    def out(self) -> Path:
        """The folder that the command writes to."""
        return self.home / OUT

    def faults(self) -> list[str]:
        """Returns what no kill may cause: no whole bundle at OUT, or a user's file gone."""
        return [*_unwhole(self.out), *self._lost()]

    def is_old(self) -> bool:
        """Returns whether the old bundle is at OUT."""
        path = self.out / FILE_NAME
        return path.is_file() and path.read_bytes() == self.old

    def left(self) -> list[str]:
        """Returns what no run to the end may leave."""
        known = {OUT, *(name.partition("/")[0] for name in BESIDE)}
        found = [path for path in self.home.iterdir() if path.name not in known]
        names = [path.name for path in found if not path.name.startswith(KEPT)]
        for kept in (path for path in found if path.name.startswith(KEPT)):
            names += [f"{kept.name}/{name}" for name in content(kept) if name not in _planted()]
        files = {FILE_NAME, *Bundle.open(self.out).manifest.files, *_planted()}
        return [*names, *(name for name in content(self.out) if name not in files)]

    def _lost(self) -> list[str]:
        texts: list[str] = []
        links: list[str] = []
        for place, folders, files in os.walk(self.home):
            for name in (*folders, *files):
                path = Path(place, name)
                if path.is_symlink():
                    links.append(os.readlink(path))
                elif path.is_file() and path.suffix == ".txt":
                    texts.append(path.read_text())
        wanted = [_text(name) for name in (*BESIDE, *(f"{OUT}/{name}" for name in WITHIN))]
        lost = [text for text in wanted if texts.count(text) != 1]
        return [f"lost or doubled: {one}" for one in lost] + [
            f"lost link: {link}" for link in LINKS.values() if link not in links
        ]


def _text(name: str) -> str:
    return f"the user's {name}"


def _planted() -> set[str]:
    return {*WITHIN, *LINKS}


def _unwhole(out: Path) -> list[str]:
    """Returns what of the bundle at a place is not as its manifest says."""
    try:
        faults = check_files(Bundle.open(out))
    except OmnijetError as error:
        return [f"no whole bundle: {error.what} {error.got}"]
    return [fault for fault in faults if ": not in the manifest" not in fault]
