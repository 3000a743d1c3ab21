"""The place of engines in a bundle: `engines/TARGET/`, and how their files get there. References,
which a bundle may lack, get to theirs the same way.

Nothing is replaced or removed there but what a build wrote: files that the manifest names, and
those that the journal of a killed build names. Anything else stays and is told.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from omnijet.runtime.bundle.manifest import ENGINES, Manifest
from omnijet.runtime.bundle.manifest_text import FORMAT
from omnijet.runtime.bundle.stamp import Stamp
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.disk import is_mounted, rename_new, sync_file, sync_folder
from omnijet.runtime.files.inside import inside
from omnijet.runtime.files.json_text import BadJson, read_json
from omnijet.runtime.files.lock import working_on
from omnijet.runtime.files.names import beside
from omnijet.runtime.files.removal import content, remove_named
from omnijet.runtime.files.whole_file import PARTIAL
from omnijet.runtime.files.work_folder import is_work_folder, remove_left, work_folder
from omnijet.runtime.leftovers import whole_step
from omnijet.runtime.reference.reference import FOLDER as REFERENCES

JOURNAL = "moving.json"
"""In the work folder: the files that are moved in or out, each with the stamps of the old and the
new."""
HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Move:
    """Files of an engine that go into a bundle, and the manifests around that.

    Attributes:
        files: where each file lies, by its name in the bundle.
        original: the manifest that the bundle has.
        before: the same without the old engine.
        after: the same with the new engine.
    """

    files: Mapping[str, Path]
    original: Manifest
    before: Manifest
    after: Manifest


@contextmanager
def building_in(bundle: Path, target: str) -> Iterator[Path]:
    """Locks a bundle and yields a work folder on the disk of its engines.

    The folder lies beside the bundle itself, not beside a link to it. If the bundle or its folder
    of engines is a mounted disk, or if nobody may write beside it, the folder lies inside.
    What killed builds left is removed.

    Raises:
        OmnijetError: another process works on the bundle, the folder cannot be written, or a link
            is where the engines go.
    """
    with adding_to(bundle, f"{ENGINES}/{target}") as folder:
        yield folder


@contextmanager
def adding_to(bundle: Path, name: str) -> Iterator[Path]:
    """Does what `building_in` does, for files that go into the folder `name` of the bundle."""
    bundle = bundle.resolve()
    place = inside(bundle, f"{name}/file").parent
    with working_on(bundle):
        _remove_partial_manifests(bundle)
        home, prefix = _home_of_work(bundle, place), _prefix(bundle)

        def recover(left: Path) -> None:
            _remove_moved(bundle, left)

        for one in _homes(bundle):
            with suppress(OSError):  # nobody may read or write there
                remove_left(one, prefix, recover)
        try:
            home.mkdir(parents=True, exist_ok=True)
            stack = ExitStack()
            folder = stack.enter_context(work_folder(home, prefix, recover))
        except OSError as error:
            raise OmnijetError(
                "the folder beside the bundle cannot be written",
                where=home,
                got=os.strerror(error.errno or 0),
                fix="put the bundle where you may write",
            ) from error
        with stack:
            yield folder


def require_place(bundle: Path, names: Iterable[str], manifest: Manifest) -> None:
    """Checks before a build that its files can be put into the bundle after it.

    Raises:
        OmnijetError: a link or a file of somebody else is in the way, or nobody may write there.
    """
    for name in names:
        path = inside(bundle, name)
        if name not in manifest.files and os.path.lexists(path):
            raise _occupied(path)
        for folder in (bundle, path.parent):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=folder):
                    pass
            except OSError as error:
                raise OmnijetError(
                    "the engines cannot be put into the bundle",
                    where=folder,
                    got=error.strerror or error,
                    fix="copy the bundle to where you may write",
                ) from error


def move_in(bundle: Path, work: Path, move: Move) -> None:
    """Moves the files of an engine into the bundle.

    A manifest without the old engine is written, the files are moved, and a manifest with the new
    engine is written. All of it is on the disk before what names it.

    Raises:
        OmnijetError: a file of somebody else appeared at the place of one of ours.
        OSError: a file cannot be moved; the old engine is there still, or none.
    """
    bundle = bundle.resolve()
    places = {name: inside(bundle, name) for name in move.files}
    for path in move.files.values():
        sync_file(path)
    for path in places.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    _write_journal(work, places, move.files, move.original)
    with whole_step():
        move.before.write(bundle)
        moved = False
        try:
            for name, path in move.files.items():
                if name in move.original.files:
                    os.replace(path, places[name])
                else:
                    rename_new(path, places[name])
                moved = True
        except OSError as error:
            if not moved:  # the old files are still there
                move.original.write(bundle)
            else:
                _remove_moved(bundle, work)
            if isinstance(error, FileExistsError):
                raise _occupied(Path(error.filename2 or error.filename)) from error
            raise
        for folder in {path.parent for path in places.values()}:
            sync_folder(folder)
            sync_folder(folder.parent)
        move.after.write(bundle)


def move_out(bundle: Path, work: Path, original: Manifest, after: Manifest) -> None:
    """Removes the files that one manifest of a bundle names and the next one does not.

    Args:
        work: a work folder, as for `move_in`.
    """
    bundle = bundle.resolve()
    places = {name: inside(bundle, name) for name in original.files.keys() - after.files.keys()}
    _write_journal(work, places, places, original)
    with whole_step():
        after.write(bundle)
        _remove_moved(bundle, work)


def strangers(bundle: Path) -> list[str]:
    """Returns the files below `engines/` that the manifest does not name."""
    known, place, prefix = Manifest.read(bundle).files, bundle / ENGINES, _prefix(bundle.resolve())
    if not place.is_dir() or place.is_symlink():
        return []
    names = [f"{ENGINES}/{name}" for name in content(place)]
    return [
        name
        for name in names
        if name not in known
        and (bundle / name).is_file()
        and not any(is_work_folder(above, prefix) for above in (bundle / name).parents)
    ]


def _home_of_work(bundle: Path, place: Path) -> Path:
    """Returns the folder from which files can be renamed to the place of the engines."""
    beside = bundle.parent
    for folder in (place, place.parent, bundle):
        if folder.exists() and _is_other_disk(folder, beside):
            return place.parent if folder == bundle else folder
    return beside if os.access(beside, os.W_OK) else place.parent


def _homes(bundle: Path) -> list[Path]:
    """Returns all folders that a killed build may have worked in: for each target another."""
    engines = bundle / ENGINES
    if not engines.is_dir() or engines.is_symlink():
        return [bundle.parent, bundle]
    below = [path for path in engines.iterdir() if path.is_dir() and not path.is_symlink()]
    return [bundle.parent, bundle, engines, *below]


def _is_other_disk(folder: Path, beside: Path) -> bool:
    return is_mounted(folder) or folder.stat().st_dev != beside.stat().st_dev


def _prefix(bundle: Path) -> str:
    return beside(bundle, ".", ".engines").name


def _write_journal(
    work: Path, places: Mapping[str, Path], files: Mapping[str, Path], original: Manifest
) -> None:
    """Notes which files are ours, should this process be killed while it moves them."""
    listed = {}
    for name, path in files.items():
        found = [Stamp.of(path)]
        if name in original.files:
            found.append(Stamp.of(places[name]))
        listed[name] = [_identity(stamp) for stamp in found if stamp is not None]
    journal = work / JOURNAL
    journal.write_text(json.dumps(listed), encoding="utf-8")
    sync_file(journal)
    sync_folder(work)


def _identity(stamp: Stamp) -> list[int]:
    """Returns what stays the same when a file is renamed and the machine starts again."""
    return [stamp.inode, stamp.bytes, stamp.modified_ns]


def _remove_moved(bundle: Path, work: Path) -> None:
    """Removes the files of the journal that the manifest does not name."""
    try:
        listed = read_json(work / JOURNAL)
    except (OSError, BadJson):
        return
    try:
        known = Manifest.read(bundle).files
    except OmnijetError:  # what is there now is another's
        return
    names = []
    for name, stamps in listed.items() if isinstance(listed, dict) else ():
        if name in known or not name.startswith((f"{ENGINES}/", f"{REFERENCES}/")):
            continue
        with suppress(OmnijetError):  # a link on the way: nothing behind it is ours
            found = Stamp.of(inside(bundle, name))
            if found is not None and _identity(found) in stamps:
                names.append(name)
    remove_named(bundle, names)


def _remove_partial_manifests(bundle: Path) -> None:
    """Removes what a command left that was killed while it wrote the manifest."""
    for path in bundle.iterdir():
        if not PARTIAL.fullmatch(path.name) or path.is_symlink() or not path.is_file():
            continue
        with suppress(OSError), open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
            if not head or FORMAT.encode() in head:
                path.unlink()


def _occupied(path: Path) -> OmnijetError:
    return OmnijetError(
        "a file that omnijet did not make is where an engine goes: it stays as it is",
        where=path,
        expected="no file, or one that the manifest names",
        fix="move it away, or delete it, and build again",
    )
