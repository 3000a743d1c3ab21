"""Places in a folder that no link leads out of."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

from omnijet.runtime.errors import OmnijetError


def inside(folder: Path, name: str) -> Path:
    """Returns the place of a file to write, replace or delete below `folder`.

    The last part may be a link: who replaces or deletes it, replaces or deletes the link.

    Raises:
        OmnijetError: the name leads out of the folder, by itself or by a link on its way.
    """
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts:
        raise _outside(folder / name, "a name that leads out of it")
    place = folder
    for part in parts.parts[:-1]:
        place /= part
        try:
            mode = os.lstat(place).st_mode
        except FileNotFoundError:
            break
        if stat.S_ISLNK(mode):
            raise _outside(place, f"a link to {os.readlink(place)}")
        if not stat.S_ISDIR(mode):
            raise _outside(place, "a file")
    return folder / name


def _outside(place: Path, got: str) -> OmnijetError:
    return OmnijetError(
        "nothing is written or deleted here, because it may be somebody else's",
        where=place,
        expected="a folder of the bundle itself",
        got=got,
        fix="replace it by a folder; for another disk, mount that disk there",
    )
