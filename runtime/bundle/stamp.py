"""What tells one content of a file from another without reading it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Stamp(NamedTuple):
    """A file's identity and the times of its last changes, as the system keeps them.

    Attributes:
        changed_ns: when content, names or rights changed last; no user can set it.
    """

    device: int
    inode: int
    bytes: int
    modified_ns: int
    changed_ns: int

    @staticmethod
    def of(path: Path) -> Stamp | None:
        """Reads the stamp of a file, behind links; None: there is no such file."""
        try:
            found = os.stat(path)
        except OSError:
            return None
        return Stamp(
            found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
        )

    def has_content_of(self, other: Stamp | None) -> bool:
        """Returns whether this is the same file, not written to since.

        A further name of the file or other rights make no difference, as `changed_ns` would.
        """
        return other is not None and self[:4] == other[:4]


def stamps(folder: Path, names: Iterable[str]) -> dict[str, Stamp]:
    """Returns the stamps of those files that exist."""
    found = ((name, Stamp.of(folder / name)) for name in names)
    return {name: stamp for name, stamp in found if stamp is not None}
