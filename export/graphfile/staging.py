"""Output folders that appear complete or not at all: written beside their place, then renamed."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omnijet.runtime.bundle.manifest import FILE_NAME, Manifest
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.leftovers import leftover, remove_folder, whole_step

_log = logging.getLogger(__name__)


@contextmanager
def staged_folder(target: Path, *, replace: bool, needed_bytes: int = 0) -> Iterator[Path]:
    """Yields a folder beside `target` and renames it to `target` when the block succeeds.

    On any exception, Ctrl-C included, the folder is removed and `target` is untouched.

    Args:
        target: The output folder.
        replace: Whether an existing `target` may be replaced.
        needed_bytes: The disk space that the block needs.

    Raises:
        OmnijetError: `target` exists and `replace` is false, its parent cannot be written,
            or the disk lacks `needed_bytes`.
    """
    parent = target.absolute().parent
    if not replace:
        require_absent(target)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=parent))
    except OSError as error:
        raise OmnijetError(
            "the output folder cannot be written",
            where=parent,
            got=os.strerror(error.errno or 0),
            fix="choose a folder that you may write to",
        ) from error
    with leftover(lambda: remove_folder(staging)):
        try:
            require_disk_space(parent, needed_bytes)
            staging.chmod(0o755)
            yield staging
            engines = _engines_in(target)
            _swap(staging, target)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
    if engines:
        _log.warning("%d engines were deleted with the replaced bundle: %s", engines, target)


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


def _engines_in(target: Path) -> int:
    """Counts the engines of the bundle at `target`; a missing or damaged bundle has none."""
    try:
        return sum(map(len, Manifest.read(target).engines.values()))
    except OmnijetError:
        return 0


def _swap(staging: Path, target: Path) -> None:
    if not target.exists():
        staging.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old-", dir=target.absolute().parent))
    previous = old / "previous"
    with leftover(lambda: remove_folder(old)):
        try:
            with whole_step():  # removing `old` would remove the only good folder
                try:
                    target.rename(previous)
                    staging.rename(target)
                except BaseException:
                    if previous.exists() and not target.exists():
                        previous.rename(target)
                    raise
        finally:
            shutil.rmtree(old, ignore_errors=True)


def require_absent(target: Path) -> None:
    """Refuses to overwrite an existing output.

    Raises:
        OmnijetError: `target` exists.
    """
    if target.exists():
        raise OmnijetError(
            "the output folder exists already",
            where=target,
            expected="a path that does not exist",
            fix="choose another path, delete it, or pass --force",
        )


def require_bundle(target: Path) -> None:
    """Refuses to replace anything but a bundle, so that a mistyped path costs no other folder.

    Raises:
        OmnijetError: `target` exists and is not a bundle.
    """
    if target.exists() and not (target / FILE_NAME).is_file():
        raise OmnijetError(
            "the folder to replace is not a bundle",
            where=target,
            expected=f"a folder with {FILE_NAME}, or nothing",
            fix="choose another path, or delete it yourself",
        )
