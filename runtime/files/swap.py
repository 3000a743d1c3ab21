"""A new output takes the place of an old one, and a cut in the middle is healed.

All of it happens in a work folder:

    new/        the output; after the swap, what it replaced
    old/        what is replaced, where a disk cannot swap
    swapping    there from before the swap on; says which folder is ours, and its files
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.disk import exchange, is_mounted, rename_new, sync_folder, sync_tree
from omnijet.runtime.files.json_text import BadJson, read_json
from omnijet.runtime.files.names import beside
from omnijet.runtime.files.removal import content, remove_named
from omnijet.runtime.files.whole_file import write_whole
from omnijet.runtime.leftovers import whole_step

_log = logging.getLogger(__name__)

NEW, OLD, SWAPPING = "new", "old", "swapping"
SHOWN = 5  # files in a message

Made = Callable[[Path], Collection[str]]
"""Returns the files of an existing output that this project made: only they may be removed.

It raises `OmnijetError` if the folder is nothing that may be replaced.
"""


@dataclass(frozen=True, slots=True)
class _Note:
    """Which folder is the new output, and its files."""

    inode: int = -1
    files: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Swap:
    """A new output in a work folder, and the place that it goes to.

    Attributes:
        folder: the work folder.
        place: the output, behind all links.
        made: what of an existing output is ours.
    """

    folder: Path
    place: Path
    made: Made

    @property
    def new(self) -> Path:
        """The output while it is made."""
        return self.folder / NEW

    @property
    def old(self) -> Path:
        """What is replaced, where the disk cannot swap."""
        return self.folder / OLD

    def put_in_place(self, last: str, *, replace: bool) -> None:
        """Waits until the new output is on the disk, and gives it its name.

        Args:
            last: the file that comes last into a mounted disk, without which the output is nothing.
            replace: whether what `made` takes for an output may be replaced.

        Raises:
            FileExistsError: something else is at the place.
            OmnijetError: what is at the place may not be replaced.
            OSError: the disk fails.
        """
        sync_tree(self.new)
        with whole_step():
            if is_mounted(self.place):
                self._move_into(last)
            elif replace and os.path.lexists(self.place):
                self._replace()
            else:
                rename_new(self.new, self.place)
        sync_folder(self.place.parent)

    def recover(self) -> None:
        """Takes back a swap that was cut, and keeps what is not ours beside the output.

        Raises:
            OSError: that is impossible.
        """
        if not (self.folder / SWAPPING).exists():
            return
        if self.old.exists() and not os.path.lexists(self.place):
            rename_new(self.old, self.place)
        elif is_mounted(self.place) and self.new.exists():
            self._take_back()
        # what is removed below must not come back to the place by a loss of power
        sync_folder(self.place.parent)
        for folder in (self.new, self.old):
            if folder.exists() and folder.stat().st_ino != self._note().inode:
                self._remove_replaced(folder)

    def _replace(self) -> None:
        """Puts the new folder in place of the old one; raises if it is another meanwhile."""
        seen = os.lstat(self.place)
        self.made(self.place)  # once more: hours may have passed
        self._write_note()
        if not exchange(self.new, self.place):
            os.rename(self.place, self.old)
            rename_new(self.new, self.place)
            return
        was = os.lstat(self.new)
        if (was.st_dev, was.st_ino) != (seen.st_dev, seen.st_ino):
            exchange(self.new, self.place)
            raise FileExistsError(self.place)

    def _move_into(self, last: str) -> None:
        """Moves the content into a mounted disk, which itself cannot be renamed."""
        self._write_note()
        for path in sorted(self.new.iterdir(), key=lambda one: one.name == last):
            if path.name == last:
                sync_folder(self.place)
            rename_new(path, self.place / path.name)
        sync_folder(self.place)

    def _take_back(self) -> None:
        """Removes from a mounted disk what was moved there, unless all of it was."""
        there = set(os.listdir(self.new))
        if not there:
            return
        # what is no longer in `new` was moved, so that nobody else's file of that name is hit
        moved = [name for name in self._note().files if name.split("/")[0] not in there]
        remove_named(self.place, moved)

    def _write_note(self) -> None:
        note = _Note(self.new.stat().st_ino, tuple(content(self.new)))
        write_whole(self.folder / SWAPPING, json.dumps(asdict(note)).encode())

    def _note(self) -> _Note:
        try:
            return _Note(**read_json(self.folder / SWAPPING))
        except (OSError, BadJson, TypeError):
            return _Note()

    def _remove_replaced(self, folder: Path) -> None:
        try:
            names = self.made(folder)
        except OmnijetError:
            names = ()
        stayed = remove_named(folder, names)
        if not folder.exists():
            return
        kept = _keep(folder, self.place)
        rest = f" and {len(stayed) - SHOWN} more" if stayed[SHOWN:] else ""
        shown = ", ".join(stayed[:SHOWN]) + rest
        _log.warning("files that omnijet did not make were moved to %s: %s", kept, shown)


def _keep(folder: Path, place: Path) -> Path:
    """Moves a folder beside the output, under a name that is free."""
    number = 1
    while True:
        kept = beside(place, "", f".kept-{number}")
        try:
            rename_new(folder, kept)
        except FileExistsError:
            number += 1
            continue
        return kept
