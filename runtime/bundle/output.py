"""A bundle's folder while it is made: complete or not there, and replacing bundles only."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omnijet.runtime.bundle.checked import forget
from omnijet.runtime.bundle.manifest import FILE_NAME
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.json_text import BadJson, read_json
from omnijet.runtime.files.names import require_utf8
from omnijet.runtime.files.staging import require_free, require_writable, staged_folder
from omnijet.runtime.files.whole_file import check_writable

_log = logging.getLogger(__name__)


@contextmanager
def staged_bundle(
    target: Path, *, replace: bool, needed_bytes: int = 0, key: str | None = None
) -> Iterator[Path]:
    """Yields a new folder, which becomes the bundle `target`; see `staged_folder`.

    Args:
        target: The bundle's folder.
        replace: Whether a bundle at `target` may be replaced. Nothing but a bundle ever is.
        needed_bytes: The disk space that the block needs.
        key: See `staged_folder` and `omnijet.runtime.bundle.finished.Finished`.

    Raises:
        OmnijetError: what `staged_folder` raises, or `target` is no bundle.
    """
    with staged_folder(
        target, made=bundle_files, replace=replace, needed_bytes=needed_bytes, last=FILE_NAME,
        key=key,
    ) as folder:  # fmt: skip
        require_utf8(Path(os.path.realpath(target)))
        yield folder
        engines = _engines_in(target)
        # it is of the old bundle: after a kill at the swap, the new one would be refused
        forget(target)
    if engines:
        _log.warning("%d engines were deleted with the replaced bundle: %s", engines, target)


def require_place(target: Path, *, replace: bool) -> None:
    """Checks before any work what `staged_bundle` checks again. Raises `OmnijetError`."""
    require_free(target, made=bundle_files, replace=replace)
    require_utf8(Path(os.path.realpath(target)))
    require_writable(target)


def require_output(path: Path) -> None:
    """Checks before minutes of work that a result can be written, and harms no bundle.

    Raises:
        OmnijetError: the file cannot be written, or would lie in a bundle.
    """
    require_outside(path)
    check_writable(path)


def require_outside(path: Path) -> None:
    """Refuses a file that would lie in a bundle, or replace one of its files.

    Raises:
        OmnijetError: a folder above the file is a bundle.
    """
    try:
        folders = Path(os.path.realpath(path)).parents
    except ValueError:  # a name that no file can have
        return
    for folder in folders:
        if _section(folder, "contracts") and _section(folder, "files"):
            raise OmnijetError(
                "the output would lie in a bundle, which holds nothing but its own files",
                where=path,
                expected="a file elsewhere",
                got=f"a file in {folder}",
                fix="choose another folder",
            )


def bundle_files(folder: Path) -> Collection[str]:
    """Returns the names of the files that a bundle's manifest names, and its own.

    The bundle may be damaged, or of another version: all that counts is who made a file.

    Raises:
        OmnijetError: the folder is no bundle.
    """
    if not (folder / FILE_NAME).is_file():
        raise OmnijetError(
            "the folder to replace is not a bundle",
            where=folder,
            expected=f"a folder with {FILE_NAME}, or nothing",
            fix="choose another path, or delete it yourself",
        )
    files = _section(folder, "files")
    return [*(name for name in files if isinstance(name, str)), FILE_NAME]


def _engines_in(target: Path) -> int:
    """Counts the engines of the bundle at `target`; a missing or damaged bundle has none."""
    engines = _section(target, "engines")
    return sum(len(of) for of in engines.values() if isinstance(of, dict))


def _section(folder: Path, name: str) -> dict[str, Any]:
    """Returns a part of a manifest, empty if it cannot be read."""
    try:
        data = read_json(folder / FILE_NAME)
    except (OSError, BadJson):
        return {}
    section = data.get(name) if isinstance(data, dict) else None
    return section if isinstance(section, dict) else {}
