"""Graphs that a command has finished before it was cut: the next one goes on with them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from omnijet.runtime.bundle.entries import FileEntry, GraphEntry
from omnijet.runtime.bundle.manifest import hash_file
from omnijet.runtime.bundle.ranges import FileName
from omnijet.runtime.bundle.records import build
from omnijet.runtime.files.json_text import BadJson, read_json
from omnijet.runtime.files.whole_file import write_whole
from omnijet.runtime.files.work_folder import DONE

_log = logging.getLogger(__name__)

MOST_BYTES = 64 << 20  # of the facts of a graph
TAKEN_OVER = "finished before, and taken over"
"""How the log says that a command goes on with what one before it has finished."""


@dataclass(frozen=True, slots=True)
class FinishedGraph:
    """A graph whose files are complete.

    Attributes:
        files: size and hash of each of its files, by their names in the bundle.
        report: what the manifest says about its layers.
    """

    entry: GraphEntry
    files: dict[FileName, FileEntry]
    report: dict[str, Any] = field(default_factory=dict)


class Finished:
    """The finished graphs of one bundle that is being made.

    They lie apart from the bundle until all of them are there, so that a kill leaves them. Nothing
    is believed of what a killed command left: each file is compared with its hash.

    Args:
        bundle: the bundle's folder in its work folder; see `staged_bundle`.
    """

    def __init__(self, bundle: Path) -> None:
        self._bundle = bundle
        self._folder = bundle.parent / DONE
        self._kept: dict[str, FinishedGraph] = {}

    def take_over(self, names: Collection[str]) -> dict[str, FinishedGraph]:
        """Returns those of these graphs that a command before this one finished."""
        for name in names:
            found = self._read(name)
            if found is not None:
                self._kept[name] = found
        if self._kept:
            _log.warning("%s: %s", TAKEN_OVER, ", ".join(self._kept))
        return dict(self._kept)

    def keep(self, name: str, graph: FinishedGraph) -> None:
        """Moves the files of a finished graph out of the bundle until `put_in_place`.

        Raises:
            OSError: the disk fails.
        """
        self._folder.mkdir(exist_ok=True)
        for file in graph.files:
            os.replace(self._bundle / file, self._place(file))
        # it comes last: without it, nothing of the graph counts
        facts = asdict(graph)
        content = json.dumps({"graph": facts, "sha256": _hash(facts)}).encode()
        write_whole(self._folder / f"{name}.json", content, follow_link=False)
        self._kept[name] = graph

    def put_in_place(self) -> None:
        """Moves all finished graphs into the bundle. Raises `OSError` if the disk fails."""
        for name, graph in self._kept.items():
            for file in graph.files:
                (self._bundle / file).parent.mkdir(exist_ok=True)
                os.replace(self._place(file), self._bundle / file)
            (self._folder / f"{name}.json").unlink()

    def _place(self, file: str) -> Path:
        return self._folder / PurePosixPath(file).name

    def _read(self, name: str) -> FinishedGraph | None:
        try:
            data = read_json(self._folder / f"{name}.json", MOST_BYTES)
            if not isinstance(data, dict) or data.get("sha256") != _hash(data.get("graph")):
                return None
            found: FinishedGraph = build(FinishedGraph, data["graph"], closed=True)
        except (OSError, BadJson, ValueError):
            return None
        wanted = {found.entry.file, found.entry.weights}
        if set(found.files) != wanted or PurePosixPath(found.entry.file).stem != name:
            return None
        with suppress(OSError):
            if all(self._is_whole(file, entry) for file, entry in found.files.items()):
                return found
        return None

    def _is_whole(self, file: str, entry: FileEntry) -> bool:
        place = self._place(file)
        return not place.is_symlink() and hash_file(place) == entry


def _hash(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
