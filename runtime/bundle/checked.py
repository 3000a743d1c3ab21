"""What `omnijet check` found whole on this machine, so that what runs is what was checked.

The record lies outside the bundle, which may be read-only, and whose maker must not write it. It
tells changed files by their stamps: only what has another stamp is hashed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from omnijet.runtime.bundle.folder import Bundle, rebuild_command
from omnijet.runtime.bundle.manifest import ENGINES, FILE_NAME, FileEntry, hash_file
from omnijet.runtime.bundle.stamp import Stamp
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.disk import sync_folder
from omnijet.runtime.files.json_text import BadJson, read_json
from omnijet.runtime.files.names import shell_quoted
from omnijet.runtime.files.whole_file import write_whole

FORMAT = "omnijet-checked-1"
MOST_BYTES = 4 << 20
KEPT_S = 30 * 86400
"""Records of bundles that are gone are kept so long: a disk may be plugged in again."""
MOST_SWEPT = 1000


@dataclass(frozen=True, slots=True)
class Record:
    """A bundle as it was when its files were last compared with the manifest.

    Attributes:
        bundle: its folder, without links.
        manifest: sha256 of the manifest.
        files: the stamp of each file that the manifest names and that was there.
    """

    bundle: str
    manifest: str
    files: Mapping[str, Stamp]

    @staticmethod
    def of(bundle: Bundle) -> Record:
        """Makes the record of a bundle whose files were just compared, or written.

        Raises:
            OmnijetError: the manifest was replaced since the bundle was opened.
        """
        files = {name: bundle.watch.known[name] for name in _named(bundle)}
        return Record(os.path.realpath(bundle.folder), manifest_hash(bundle), files)

    @staticmethod
    def read(folder: Path) -> Record | None:
        """Reads the record of a bundle; None: there is none, or it is damaged."""
        path = _place(os.path.realpath(folder))
        with suppress(OSError, BadJson):
            return None if path is None else _parsed(read_json(path, MOST_BYTES))
        return None

    def write(self) -> bool:
        """Writes the record; returns whether this machine has a place for it."""
        path = _place(self.bundle)
        if path is None:
            return False
        files = {name: list(stamp) for name, stamp in self.files.items()}
        data = {"format": FORMAT, "bundle": self.bundle, "manifest": self.manifest, "files": files}
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, json.dumps(data).encode(), follow_link=False)
        except OSError:
            return False
        _sweep(path.parent)
        return True

    def changed(self, bundle: Bundle) -> dict[str, FileEntry]:
        """Returns the files of an opened bundle whose stamps are not those of the record."""
        known, entries = bundle.watch.known, bundle.manifest.files
        return {
            name: entries[name] for name in _named(bundle) if self.files.get(name) != known[name]
        }


def require_as_checked(bundle: Bundle, progress: Callable[[int], None] | None = None) -> bool:
    """Refuses a bundle that is not the one that `omnijet check` passed on this machine.

    Args:
        progress: called with the number of bytes of each block that had to be read.

    Returns:
        False if it was never checked here, which is no fault.

    Raises:
        OmnijetError: the manifest or a file has changed since; all are listed.
    """
    record = Record.read(bundle.folder)
    if record is None:
        return False
    check = f"omnijet check {shell_quoted(bundle.folder)}"
    if manifest_hash(bundle) != record.manifest:
        raise OmnijetError(
            "the bundle is not the one that was checked on this machine",
            where=bundle.folder / FILE_NAME,
            expected=f"sha256 {record.manifest[:16]}…, as when `omnijet check` passed",
            got="another manifest",
            fix=f"if it was meant to change: {check}",
        )
    changed = record.changed(bundle)
    faults = []
    for name, entry in changed.items():
        with bundle.watch.steady(name):
            found = hash_file(bundle.folder / name, progress)
        if found != entry:
            faults.append(f"{name}: sha256 {found.sha256[:16]}…, not {entry.sha256[:16]}…")
    if faults:
        again = "copy the bundle again, or export it again"
        if all(fault.startswith(f"{ENGINES}/") for fault in faults):
            targets = {fault.split("/")[1] for fault in faults}
            again = "; ".join(rebuild_command(bundle.folder, one) for one in sorted(targets))
        count = "a file" if len(faults) == 1 else f"{len(faults)} files"
        raise OmnijetError(
            f"{count} of the bundle changed since it was checked",
            where=bundle.folder,
            expected="the files that the manifest names, unchanged",
            got="\n            ".join(faults),
            fix=f"{again}; then {check}",
        )
    if changed:
        Record.of(bundle).write()
    return True


def note_written(folder: Path) -> None:
    """Records a bundle that was just written, if this machine has a place for that."""
    with suppress(OmnijetError, OSError):
        Record.of(Bundle.open(folder)).write()


def forget(folder: Path) -> None:
    """Removes the record of a bundle that is about to be replaced."""
    path = _place(os.path.realpath(folder))
    with suppress(OSError):
        if path is not None:
            path.unlink()
            sync_folder(path.parent)


def note_extended(before: Bundle, record: Record | None) -> None:
    """Records a bundle that got more files, if it had a record before.

    Files that the manifest names as before keep their old stamps: nobody has read them since.

    Args:
        record: `recorded(before)`, from before the change.
    """
    if record is None:
        return
    with suppress(OmnijetError, OSError):
        after = Bundle.open(before.folder)
        old, new = before.manifest.files, after.manifest.files
        kept = {name: one for name, one in record.files.items() if old.get(name) == new.get(name)}
        made = Record.of(after)
        replace(made, files={**made.files, **kept}).write()


def recorded(bundle: Bundle) -> Record | None:
    """Returns the record of a bundle; None: there is none with this manifest."""
    record = Record.read(bundle.folder)
    return record if record is not None and record.manifest == manifest_hash(bundle) else None


def manifest_hash(bundle: Bundle) -> str:
    """Returns the sha256 of the manifest that was opened."""
    with bundle.watch.steady(FILE_NAME):
        return hash_file(bundle.folder / FILE_NAME).sha256


def records_folder() -> Path | None:
    """Returns the folder of all records; None: this user has no home."""
    base = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):  # as the XDG specification says
        base = os.path.expanduser("~/.local/state")
    return Path(base) / "omnijet" / "checked" if os.path.isabs(base) else None


def _named(bundle: Bundle) -> list[str]:
    """Returns the files of the manifest that were there when the bundle was opened."""
    return [name for name in bundle.manifest.files if name in bundle.watch.known]


def _place(bundle: str) -> Path | None:
    folder = records_folder()
    name = hashlib.sha256(os.fsencode(bundle)).hexdigest()
    return None if folder is None else folder / f"{name}.json"


def _parsed(data: Any) -> Record | None:
    """Returns None if anything is not as `Record.write` writes it."""
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        return None
    bundle, manifest, files = (data.get(key) for key in ("bundle", "manifest", "files"))
    if not (isinstance(bundle, str) and isinstance(manifest, str) and isinstance(files, dict)):
        return None
    stamps = {}
    for name, numbers in files.items():
        if not isinstance(numbers, list) or [type(n) for n in numbers] != [int] * 5:
            return None
        stamps[name] = Stamp(*numbers)
    return Record(bundle, manifest, stamps)


def _sweep(folder: Path) -> None:
    """Removes old records of bundles that are gone."""
    with suppress(OSError):
        for path in islice(folder.glob("*.json"), MOST_SWEPT):
            if time.time() - path.stat().st_mtime < KEPT_S:
                continue
            with suppress(BadJson):
                record = _parsed(read_json(path, MOST_BYTES))
                if record is None or not Path(record.bundle, FILE_NAME).exists():
                    path.unlink()
