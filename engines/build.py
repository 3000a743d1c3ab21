"""Builds engines one after another: lowers a graph, builds it in a process of its own, moves the
engine into the bundle. Graphs for ONNX Runtime (`omnijet.engines.ort_builder`) go the same way.

The bundle is complete at any moment: an engine is moved in when it is finished, and only then does
the manifest name it (`omnijet.engines.place`). A later build finds finished engines by their keys
and does not repeat them.
"""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from omnijet.engines.build_memory import Need, memory_warning
from omnijet.engines.library import Installed
from omnijet.engines.lowered_operators import LOWERED
from omnijet.engines.lowering.flavours import flavour_for, form_of
from omnijet.engines.place import (
    Move,
    building_in,
    move_in,
    move_out,
    require_place,
    strangers,
)
from omnijet.engines.plan import Planned
from omnijet.engines.polygraphy import SCRIPT, script
from omnijet.engines.process import Progress
from omnijet.engines.targets.target import Target
from omnijet.runtime.bundle.folder import Bundle, require_undamaged
from omnijet.runtime.bundle.graph_rules import require_own_graph
from omnijet.runtime.bundle.manifest import ENGINES, EngineEntry, Manifest, hash_file
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.printable import printable
from omnijet.runtime.files.staging import require_disk_space

_log = logging.getLogger(__name__)

KINDS = ("engine", "json", "log", "onnx", "weights")
"""Endings of the files of one graph."""
SHOWN = 5  # files in a message
ENGINE_REST = 100_000_000
"""The most bytes that an engine takes besides its weights."""


class Bars:
    """Shows one progress bar for each stage of a graph."""

    def __init__(self, graph: str, weight_bytes: int, progress: Progress) -> None:
        self._graph, self._total, self._progress = graph, weight_bytes, progress
        self._lowered = 0

    def lowered(self, count: int) -> None:
        self._lowered = min(self._lowered + count, self._total)
        self._progress(f"{self._graph}: lowering, bytes", self._lowered, self._total)

    def building(self, what: str, done: int, total: int) -> None:
        self._progress(f"{self._graph}: {what}", done, total)


class Made(NamedTuple):
    """What a build made: the manifest's entry, and the description of layers that lies beside."""

    entry: EngineEntry
    layers: Any


@dataclass(frozen=True, slots=True)
class Builder(ABC):
    """Builds for one target with an installed library.

    Attributes:
        cache: folder of timing caches; they belong to a machine, not to a bundle.
        ignores_memory: builds even if the memory that was predicted is not free.
    """

    installed: Installed
    target: Target
    cache: Path
    ignores_memory: bool = False

    @abstractmethod
    def make(self, manifest: Manifest, scratch: Path, one: Planned, bars: Bars) -> Made:
        """Makes the file, and the one beside it, of the lowered graph in the work folder.

        Raises:
            OmnijetError: the library does not build it.
        """

    def build(self, folder: Path, plan: Sequence[Planned], progress: Progress) -> Manifest:
        """Builds the engines that are not present; returns the manifest afterwards.

        Raises:
            OmnijetError: a graph does not build; the engines before it are in the bundle.
        """
        with building_in(folder, self.target.name) as scratch:
            for one in plan:
                if one.status != "present":
                    self._build(folder, scratch, one, progress)
        if left := strangers(folder):
            shown = ", ".join(left[:SHOWN]) + (
                f" and {len(left) - SHOWN} more" * (len(left) > SHOWN)
            )
            _log.warning("files that omnijet did not make stay in the bundle: %s", printable(shown))
        return Manifest.read(folder)

    def _build(self, folder: Path, scratch: Path, one: Planned, progress: Progress) -> None:
        need = Need(one.predicted, one.least)
        if said := memory_warning(one.graph, need, self.target, self.ignores_memory):
            _log.warning("%s", said)
        manifest = Manifest.read(folder)
        require_place(folder, files_of(one, self.target), manifest)
        require_undamaged(folder, manifest, one.graph)
        # the lowered graph and its engine
        require_disk_space(scratch.parent, 2 * one.weight_bytes + ENGINE_REST)
        contract, source = manifest.contracts[one.graph], manifest.graphs[one.graph]
        bars = Bars(one.graph, source.weight_bytes, progress)
        lower = flavour_for(self.target)
        lower(folder / source.file, contract, scratch, source.parameters, bars.lowered)
        graph = scratch / f"{one.graph}.onnx"
        require_own_graph(graph, one.graph, LOWERED[form_of(self.target)])
        made = self.make(manifest, scratch, one, bars)
        details = {"made of": one.made_of, "layers": made.layers}
        (scratch / f"{one.graph}.json").write_text(json.dumps(details, indent=1) + "\n")
        move_in(folder, scratch, _move(folder, scratch, one, self.target, made.entry))
        for path in scratch.glob(f"{one.graph}.*"):
            path.unlink()


def _move(folder: Path, scratch: Path, one: Planned, target: Target, entry: EngineEntry) -> Move:
    """Returns what moves the files of an engine into the bundle."""
    names = {name: scratch / Path(name).name for name in files_of(one, target)}
    original = Manifest.read(folder)
    if original.files[original.graphs[one.graph].file].sha256 != one.made_of["graph"]:
        raise OmnijetError(
            "the bundle was replaced while an engine was built", where=folder, fix="build again"
        )
    before = without_engine(original, target.name, one.graph)
    engines = {**before.engines.get(target.name, {}), one.graph: entry}
    engines = {name: engines[name] for name in before.graphs if name in engines}
    after = replace(before, engines={**before.engines, target.name: engines})
    if target.library != "onnxruntime":
        (scratch / SCRIPT).write_text(script(after, target), encoding="utf-8")
    hashes = {name: hash_file(path) for name, path in names.items()}
    return Move(names, original, before, replace(after, files={**after.files, **hashes}))


def files_of(one: Planned, target: Target) -> tuple[str, ...]:
    """Returns the names of the files that a build writes into the bundle."""
    names = (one.file, one.details_file, one.beside)
    return (
        names if target.library == "onnxruntime" else (*names, f"{ENGINES}/{target.name}/{SCRIPT}")
    )


def without_engine(manifest: Manifest, target: str, graph: str) -> Manifest:
    """Returns the manifest without this engine, its files, and the script that names it."""
    engines = {
        name: {one: entry for one, entry in of.items() if (name, one) != (target, graph)}
        for name, of in manifest.engines.items()
    }
    place = f"{ENGINES}/{target}"
    gone = {f"{place}/{graph}.{kind}" for kind in KINDS} | {f"{place}/{SCRIPT}"}
    files = {name: entry for name, entry in manifest.files.items() if name not in gone}
    return replace(manifest, engines={k: v for k, v in engines.items() if v}, files=files)


def take_out(folder: Path, target: str, graphs: Iterable[str]) -> None:
    """Removes what was built of these graphs."""
    with building_in(folder, target) as scratch:
        original = after = Manifest.read(folder)
        for graph in graphs:
            after = without_engine(after, target, graph)
        move_out(folder, scratch, original, after)


def open_for_building(folder: Path) -> Bundle:
    """Opens a bundle even if its engines are damaged, because they can be built again.

    Raises:
        OmnijetError: the folder is no bundle, or something besides engines is damaged.
    """
    manifest = Manifest.read(folder)
    Bundle.of(folder, manifest.without_engines())
    return Bundle(folder, manifest)
