"""Notices that a bundle's files are replaced or edited while a model uses them.

A model reads its files one by one, when they are first needed. Without this, a bundle that is
replaced in between would answer with one model's ears and another's voice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from omnijet.runtime.bundle.stamp import Stamp, stamps
from omnijet.runtime.errors import OmnijetError


class Watch:
    """The files of a folder as they were when it was opened. Any thread may use it.

    What was opened goes on to hold the content it had, also if its name is gone or belongs to
    another file now: that is no fault.

    Args:
        names: files that may be missing.

    Attributes:
        known: the stamps of those that were there.
    """

    def __init__(self, folder: Path, names: Iterable[str] = ()) -> None:
        self._folder = folder
        self.known = stamps(folder, names)
        self._in_use: dict[str, Stamp] = {}

    @contextmanager
    def steady(self, *names: str) -> Iterator[None]:
        """Surrounds the reading of files, which nobody needs any longer afterwards.

        A file that is missing is left to whoever needs it.

        Raises:
            OmnijetError: a file is no longer the one that was there when the folder was opened.
        """
        known = {name: self.known[name] for name in names if name in self.known}
        self._require(known)
        try:
            yield
        except OmnijetError as error:
            if others := self._others(known, missing=True):
                raise self._replaced(others) from error
            raise
        self._require(known)

    @contextmanager
    def reading(self, *names: str) -> Iterator[None]:
        """Does the same for files that are mapped, or will be needed again: they are in use."""
        with self.steady(*names):
            yield
        self._in_use.update((name, self.known[name]) for name in names if name in self.known)

    def require_unedited(self) -> None:
        """Checks the files in use, which takes a few microseconds for each.

        Raises:
            OmnijetError: one was written to, so that what is mapped of it has changed.
        """
        edited = []
        for name, known in list(self._in_use.items()):
            now = Stamp.of(self._folder / name)
            if now is not None and now[:2] == known[:2] and not known.has_content_of(now):
                edited.append(name)
        if edited:
            raise OmnijetError(
                "files of the bundle were edited while it was in use",
                where=self._folder,
                expected="a new file in place of the old one, or a closed model",
                got="\n            ".join(f"{name}: written to since" for name in edited),
                fix="run `omnijet check` on the bundle, and open it again",
            )

    def _require(self, known: dict[str, Stamp]) -> None:
        if others := self._others(known):
            raise self._replaced(others)

    def _others(self, known: dict[str, Stamp], missing: bool = False) -> list[str]:
        """Returns the names that belong to another content now."""
        found = stamps(self._folder, known)
        return [
            name
            for name, stamp in known.items()
            if (missing if name not in found else not stamp.has_content_of(found[name]))
        ]

    def _replaced(self, names: list[str]) -> OmnijetError:
        return OmnijetError(
            "the bundle was replaced while it was in use",
            where=self._folder,
            expected="the files that were there when it was opened",
            got="\n            ".join(f"{name}: another file, or written to" for name in names),
            fix="open the bundle again; what was opened before would mix two of them",
        )
