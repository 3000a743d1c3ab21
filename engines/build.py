"""Builds engines one after another: lowers a graph, builds it in a process of its own, moves the
engine into the bundle.

The bundle is complete at any moment: an engine is moved in when it is finished, and only then does
the manifest name it. A later build finds finished engines by their keys and does not repeat them.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omnijet.engines.build_memory import require_memory
from omnijet.engines.build_options import BuildOptions
from omnijet.engines.faults import build_fault, process_fault
from omnijet.engines.fixed_axes import fix_axes, require_contract
from omnijet.engines.library import Installed
from omnijet.engines.lowering.flavours import flavour_for
from omnijet.engines.plan import Planned
from omnijet.engines.polygraphy import SCRIPT, script
from omnijet.engines.process import Died, Progress, run_worker
from omnijet.engines.profiles import Profile
from omnijet.engines.targets.target import Target
from omnijet.engines.targets.toolkits import Library
from omnijet.export.graphfile.staging import require_disk_space
from omnijet.runtime.bundle.contract import GraphContract
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.manifest import ENGINES, EngineEntry, Manifest, hash_file
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.leftovers import leftover, remove_folder, whole_step

ENGINE_REST = 100_000_000
"""The most bytes that an engine takes besides its weights."""


@dataclass(frozen=True, slots=True)
class Builder:
    """Builds engines for one target with an installed library.

    Attributes:
        cache: folder of timing caches; they belong to a machine, not to a bundle.
    """

    installed: Installed
    target: Target
    cache: Path

    def build(self, folder: Path, plan: Sequence[Planned], progress: Progress) -> Manifest:
        """Builds the engines that are not present; returns the manifest afterwards.

        Raises:
            OmnijetError: a graph does not build; the engines before it are in the bundle.
        """
        with _scratch_folder(folder) as scratch:
            _remove_unlisted(folder)
            for one in plan:
                if one.status != "present":
                    self._build(folder, scratch, one, progress)
        return Manifest.read(folder)

    def _build(self, folder: Path, scratch: Path, one: Planned, progress: Progress) -> None:
        require_memory(one.graph, one.least, self.target)
        manifest = Manifest.read(folder)
        _require_writable(folder, (folder / one.file).parent)
        _require_undamaged(folder, manifest, one.graph)
        # the lowered graph and its engine
        require_disk_space(scratch.parent, 2 * one.weight_bytes + ENGINE_REST)
        contract, entry = manifest.contracts[one.graph], manifest.graphs[one.graph]
        bars = _Bars(one.graph, entry.weight_bytes, progress)
        lower = flavour_for(self.target)
        lower(folder / entry.file, contract, scratch, entry.parameters, bars.lowered)
        graph = scratch / f"{one.graph}.onnx"
        capacity = one.profiles[-1].get("capacity")
        fixed = {} if capacity is None else {"capacity": capacity[0]}
        fix_axes(graph, fixed)
        verdict = self._run(manifest, scratch, one, bars)
        require_contract(contract, verdict, fixed, graph)
        details = {"made of": one.made_of, "layers": self._layers(scratch, one, verdict)}
        (scratch / f"{one.graph}.json").write_text(json.dumps(details, indent=1) + "\n")
        _move_in(folder, scratch, one, self.target, self._entry(one, verdict))
        for path in scratch.glob(f"{one.graph}.*"):
            path.unlink()

    def _layers(self, scratch: Path, one: Planned, verdict: Mapping[str, Any]) -> Any:
        """Returns the layers of the engine if its GPU is here, else of the parsed network."""
        if self.installed.here == self.target.compute_capability:
            engine = str(scratch / f"{one.graph}.engine")
            job = {"do": "inspect", "library": self.installed.library, "engine": engine}
            with suppress(Died):
                return run_worker(self.installed.python, job).get("summary", verdict["summary"])
        return verdict["summary"]

    def _run(self, manifest: Manifest, scratch: Path, one: Planned, bars: _Bars) -> dict[str, Any]:
        job = worker_job(
            manifest.contracts[one.graph],
            one.profiles,
            self.installed.library,
            one.made_of["compute capability"],
            self._timing_cache(),
            one.made_of["options"],
        )
        try:
            verdict = run_worker(self.installed.python, job, bars.building, scratch)
        except Died as died:
            raise process_fault(died, one.graph, one.predicted, self.target) from died
        if not verdict["done"]:
            raise build_fault(verdict, one.graph, one.predicted, self.target)
        return verdict

    def _entry(self, one: Planned, verdict: Mapping[str, Any]) -> EngineEntry:
        return EngineEntry(
            file=one.file,
            key=one.key,
            library=self.installed.library,
            version=verdict["version"],
            compute_capability=one.made_of["compute capability"],
            profiles=one.profiles,
            # a decomposed graph reads its old cache to the end: the new one must not overwrite it
            caches_in_place=self.target.flavour == "native",
            bytes=verdict["bytes"],
            layers=verdict["layers"],
            build_seconds=round(verdict["seconds"], 1),
            peak_bytes=verdict["peak_bytes"],
        )

    def _timing_cache(self) -> str | None:
        """Returns a file, or None if the library times nothing at build time (TensorRT-RTX)."""
        installed = self.installed
        if installed.library == "tensorrt_rtx":
            return None
        self.cache.mkdir(parents=True, exist_ok=True)
        name = f"{installed.library}-{installed.version}-sm{installed.here}.cache"
        return str(self.cache.absolute() / name)


def worker_job(
    contract: GraphContract,
    profiles: Sequence[Profile],
    library: Library,
    capability: int,
    timing_cache: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the job for `omnijet.engines.worker.build`; file names are relative to its folder.

    Args:
        timing_cache: a file, or None.
        options: of `BuildOptions`.
    """
    return {
        "do": "build",
        "library": library,
        "graph": f"{contract.name}.onnx",
        "engine": f"{contract.name}.engine",
        "log": f"{contract.name}.log",
        "profiles": [_shapes(contract, profile) for profile in profiles],
        "compute_capability": capability,
        "timing_cache": timing_cache,
        **(BuildOptions().to_json() if options is None else options),
    }


def _shapes(contract: GraphContract, profile: Profile) -> dict[str, list[list[int]]]:
    """Returns the smallest, usual and largest shape of each input."""
    ends = [{symbol: sizes[end] for symbol, sizes in profile.items()} for end in range(3)]
    return {spec.name: [list(spec.shape(sizes)) for sizes in ends] for spec in contract.inputs}


class _Bars:
    """Shows one progress bar for each stage of a graph."""

    def __init__(self, graph: str, weight_bytes: int, progress: Progress) -> None:
        self._graph, self._total, self._progress = graph, weight_bytes, progress
        self._lowered = 0

    def lowered(self, count: int) -> None:
        self._lowered = min(self._lowered + count, self._total)
        self._progress(f"{self._graph}: lowering, bytes", self._lowered, self._total)

    def building(self, what: str, done: int, total: int) -> None:
        self._progress(f"{self._graph}: {what}", done, total)


def _move_in(folder: Path, scratch: Path, one: Planned, target: Target, entry: EngineEntry) -> None:
    """Moves the files of an engine into the bundle.

    All that can fail comes first. Then a manifest without the old engine is written, the files
    are moved, and a manifest with the new engine is written.
    """
    names = {name: scratch / Path(name).name for name in (one.file, one.details_file, one.log_file)}
    original = Manifest.read(folder)
    if original.files[original.graphs[one.graph].file].sha256 != one.made_of["graph"]:
        raise OmnijetError(
            "the bundle was replaced while an engine was built", where=folder, fix="build again"
        )
    before = without_engine(original, target.name, one.graph)
    engines = {**before.engines.get(target.name, {}), one.graph: entry}
    engines = {name: engines[name] for name in before.graphs if name in engines}
    after = replace(before, engines={**before.engines, target.name: engines})
    names[f"{ENGINES}/{target.name}/{SCRIPT}"] = scratch / SCRIPT
    (scratch / SCRIPT).write_text(script(after, target), encoding="utf-8")
    hashes = {name: hash_file(path) for name, path in names.items()}
    (folder / one.file).parent.mkdir(parents=True, exist_ok=True)
    with whole_step():
        before.write(folder)
        moved = False
        try:
            for name, path in names.items():
                os.replace(path, folder / name)
                moved = True
        except OSError:
            if not moved:  # the old files are still there
                original.write(folder)
            raise
        replace(after, files={**after.files, **hashes}).write(folder)


def _require_writable(*folders: Path) -> None:
    """Checks before the build that the engines can be written after it. Raises `OmnijetError`."""
    for folder in folders:
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


def _require_undamaged(folder: Path, manifest: Manifest, graph: str) -> None:
    """Checks the hashes of a graph: an engine of damaged weights would count as a good one.

    Raises:
        OmnijetError: a file differs from the manifest.
    """
    entry = manifest.graphs[graph]
    for name in (entry.file, entry.weights):
        if hash_file(folder / name) != manifest.files[name]:
            raise OmnijetError(
                f"graph {graph} is damaged",
                where=folder / name,
                expected=f"sha256 {manifest.files[name].sha256[:16]}…, as the manifest says",
                fix="copy the bundle again, or export it again",
            )


def without_engine(manifest: Manifest, target: str, graph: str) -> Manifest:
    """Returns the manifest without this engine, its files, and the script that names it."""
    engines = {
        name: {one: entry for one, entry in of.items() if (name, one) != (target, graph)}
        for name, of in manifest.engines.items()
    }
    place = f"{ENGINES}/{target}"
    gone = {f"{place}/{graph}.{kind}" for kind in ("engine", "json", "log")} | {f"{place}/{SCRIPT}"}
    files = {name: entry for name, entry in manifest.files.items() if name not in gone}
    return replace(manifest, engines={k: v for k, v in engines.items() if v}, files=files)


def open_for_building(folder: Path) -> Bundle:
    """Opens a bundle even if its engines are damaged, because they can be built again.

    Raises:
        OmnijetError: the folder is no bundle, or something besides engines is damaged.
    """
    manifest = Manifest.read(folder)
    Bundle.of(folder, manifest.without_engines())
    return Bundle(folder, manifest)


@contextmanager
def _scratch_folder(bundle: Path) -> Iterator[Path]:
    """Makes an empty folder on the disk of the engines, so that finished ones can be renamed.

    The folder lies beside the bundle itself, not beside a link to it. If the bundle or its
    `engines` folder is a mounted disk, the folder lies inside. Leftovers of a killed build are
    removed.

    Raises:
        OmnijetError: another build is running on this bundle, or the folder cannot be written.
    """
    home = bundle.resolve()
    scratch = home.with_name(f".{home.name}.engines")
    engines = (home / ENGINES).resolve()
    try:
        inside = next(path for path in (engines, *engines.parents) if path.exists())
        if inside.stat().st_dev != home.parent.stat().st_dev:
            engines.mkdir(exist_ok=True)
            scratch = engines / ".building"
        scratch.mkdir(exist_ok=True)
        lock = os.open(scratch, os.O_RDONLY)
    except OSError as error:
        raise OmnijetError(
            "the folder beside the bundle cannot be written",
            where=scratch,
            got=os.strerror(error.errno or 0),
            fix="put the bundle where you may write",
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OmnijetError(
                "another build is at work on this bundle", where=bundle, fix="wait for its end"
            ) from None
        _empty(scratch)
        with leftover(lambda: remove_folder(scratch)):
            try:
                yield scratch
            finally:
                _empty(scratch)
                with suppress(OSError):
                    scratch.rmdir()
    finally:
        os.close(lock)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _remove_unlisted(folder: Path) -> None:
    """Removes files that an interrupted build moved in before the manifest named them."""
    known = Manifest.read(folder).files
    for path in (folder / ENGINES).rglob("*"):
        if path.is_file() and path.relative_to(folder).as_posix() not in known:
            path.unlink()
