"""Output folders that appear complete or not at all: written beside their place, then renamed.

The work folder lies beside the output, or in it if that is a mounted disk. A killed process leaves
it. The next one that works on the same output removes it, and puts back what a disk without an
atomic swap had moved away.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.disk import is_mounted, make_folders
from omnijet.runtime.files.lock import WITHIN, working_on
from omnijet.runtime.files.names import beside, shell_quoted
from omnijet.runtime.files.swap import NEW, Made, Swap
from omnijet.runtime.files.work_folder import (
    done_bytes,
    is_named_so,
    remove_left,
    work_folder,
)

NOT_CONTENT = frozenset({"lost+found"})
"""What may lie in a new disk."""


def nothing(folder: Path) -> Collection[str]:
    """Says that this project made nothing in a folder."""
    return ()


@contextmanager
def staged_folder(
    target: Path, *, made: Made = nothing, replace: bool, needed_bytes: int = 0, last: str = "",
    key: str | None = None,
) -> Iterator[Path]:  # fmt: skip
    """Yields a new folder, which becomes `target` when the block succeeds.

    On any exception, Ctrl-C included, the folder is removed and `target` is untouched. A kill or a
    loss of power leaves the old folder at `target` or the new one. What the block writes beside
    the new folder is removed with the work folder.

    Args:
        target: The output folder. If it is a link, the folder that it leads to.
        made: Says which files of an existing `target` are ours. Others are never removed.
        replace: Whether an existing `target` may be replaced.
        needed_bytes: The disk space that the block needs.
        last: The file without which the output is nothing. It comes last into a mounted disk.
        key: Stands for all that the work depends on: what is finished of work with the same key is
            there again; see `work_folder`.

    Raises:
        OmnijetError: `target` exists and `replace` is false, or appeared meanwhile; another
            process works on it; its parent cannot be written, or the disk lacks `needed_bytes`.
    """
    require_free(target, made=made, replace=replace)
    place = _real(target)
    home = place if is_mounted(place) else place.parent
    prefix = _prefix(place)

    def recover(folder: Path) -> None:
        Swap(folder, place, made).recover()

    try:
        make_folders(home)
    except OSError as error:
        raise _unwritable(home, error) from error
    with working_on(place):
        try:
            remove_left(home, prefix, recover, key)
            _require_free(target, place, made, replace=replace)
            require_disk_space(home, needed_bytes - done_bytes(home, prefix, key))
            entered = False
            with work_folder(home, prefix, recover, key) as folder:
                (folder / NEW).mkdir()
                entered = True
                yield folder / NEW
                entered = False
                Swap(folder, place, made).put_in_place(last, replace=replace)
        except FileExistsError as error:
            if entered:
                raise
            raise OmnijetError(
                "the output folder appeared while it was being made: it stays as it is",
                where=target,
                fix="choose another path, or move it away and run the command again",
            ) from error
        except OSError as error:
            if entered:  # the caller's own
                raise
            raise _unwritable(home, error) from error


def require_free(target: Path, *, made: Made = nothing, replace: bool) -> None:
    """Checks before any work whether an output may be put at `target`.

    Raises:
        OmnijetError: something is there that is not replaced.
    """
    place = _real(target)
    if is_mounted(place) and any(_is_left(path, place) for path in place.iterdir()):
        return  # what a killed process moved there is taken back before the next look
    _require_free(target, place, made, replace=replace)


def require_writable(target: Path) -> None:
    """Checks before hours of work that an output can be made at `target`; makes its parents.

    Raises:
        OmnijetError: nobody may write there.
    """
    place = _real(target)
    home = place if is_mounted(place) else place.parent
    try:
        make_folders(home)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        raise _unwritable(home, error) from error


def _real(target: Path) -> Path:
    """Returns the place of an output. Raises `OmnijetError` if there can be none."""
    try:
        place = Path(os.path.realpath(target))
        with suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(place)
    except (OSError, ValueError) as error:  # a name too long, a loop of links, a NUL
        raise OmnijetError(
            "there can be no folder of this name",
            where=repr(os.fspath(target)),
            got=getattr(error, "strerror", None) or error,
            fix="choose another path",
        ) from error
    return place


def _prefix(place: Path) -> str:
    return beside(place, ".", ".work").name


def _require_free(target: Path, place: Path, made: Made, *, replace: bool) -> None:
    """Raises `OmnijetError` if what is at the place of the output may not be replaced."""
    if is_mounted(place):
        _require_empty(target, place)
    elif not replace:
        require_absent(target)
    elif os.path.lexists(place):
        made(place)
        _require_elsewhere(target, place)


def _is_left(path: Path, place: Path) -> bool:
    """Returns whether a killed process may have left it in a mounted disk."""
    return path.name == WITHIN or is_named_so(path, _prefix(place))


def _require_empty(target: Path, place: Path) -> None:
    found = {path.name for path in place.iterdir() if not _is_left(path, place)}
    if found - NOT_CONTENT:
        raise OmnijetError(
            "the output is a mounted disk that is not empty: it cannot be replaced in one step",
            where=target,
            expected="an empty disk, or a folder in it",
            got=", ".join(sorted(found)[:5]),
            fix=f"write to a folder in it, such as {target / 'bundle'}",
        )


def _require_elsewhere(target: Path, place: Path) -> None:
    """Refuses to replace the folder that this process works in, which would be gone for it."""
    here = Path.cwd()
    if here == place or place in here.parents:
        raise OmnijetError(
            "the folder to replace is the one that the command runs in",
            where=target,
            expected="another folder, or to be called from outside of it",
            fix=f"cd {shell_quoted(place.parent)}, and name it from there",
        )


def _unwritable(folder: Path, error: OSError) -> OmnijetError:
    return OmnijetError(
        "the output folder cannot be written",
        where=folder,
        got=os.strerror(error.errno or 0),
        fix="choose a folder that you may write to",
    )


def require_disk_space(folder: Path, needed_bytes: int) -> None:
    """Checks the free space on the disk of a folder.

    Raises:
        OmnijetError: The disk has fewer than `needed_bytes` free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise OmnijetError(
            "the disk has too little free space",
            where=folder,
            expected=f"{needed_bytes / 1e9:.2f} GB free",
            got=f"{free / 1e9:.2f} GB free",
            fix="free space or choose another disk",
        )


def require_absent(target: Path) -> None:
    """Refuses to overwrite an existing output.

    Raises:
        OmnijetError: `target` exists.
    """
    if os.path.lexists(target):
        raise OmnijetError(
            "the output folder exists already",
            where=target,
            expected="a path that does not exist",
            fix="choose another path, delete it, or pass --force",
        )
