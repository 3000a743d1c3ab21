"""Builds engines with TensorRT or TensorRT-RTX, each in a process of its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnijet.engines.build import Bars, Builder, Made
from omnijet.engines.build_options import BuildOptions
from omnijet.engines.faults import build_fault, process_fault
from omnijet.engines.fixed_axes import fix_axes, require_contract
from omnijet.engines.plan import Planned
from omnijet.engines.process import Died, run_worker
from omnijet.engines.profiles import Profile
from omnijet.engines.targets.toolkits import Library
from omnijet.runtime.bundle.contract import GraphContract
from omnijet.runtime.bundle.manifest import EngineEntry, Manifest

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EngineBuilder(Builder):
    """Builds engines with TensorRT or TensorRT-RTX."""

    def make(self, manifest: Manifest, scratch: Path, one: Planned, bars: Bars) -> Made:
        """Builds the engine in a process of its own."""
        contract, graph = manifest.contracts[one.graph], scratch / f"{one.graph}.onnx"
        least, *_, most = one.profiles[-1].get("capacity", (0, 1))
        fixed = {"capacity": most} if least == most else {}
        fix_axes(graph, fixed)
        verdict = self._run(manifest, scratch, one, bars)
        require_contract(contract, verdict, fixed, graph)
        return Made(self._entry(one, verdict), self._layers(scratch, one, verdict))

    def _layers(self, scratch: Path, one: Planned, verdict: Mapping[str, Any]) -> Any:
        """Returns the layers of the engine if its GPU is here, else of the parsed network."""
        if self.installed.here == self.target.compute_capability:
            engine = str(scratch / f"{one.graph}.engine")
            job = {"do": "inspect", "library": self.installed.library, "engine": engine}
            with suppress(Died):
                return run_worker(self.installed.python, job).get("summary", verdict["summary"])
        return verdict["summary"]

    def _run(self, manifest: Manifest, scratch: Path, one: Planned, bars: Bars) -> dict[str, Any]:
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
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            _log.warning("timings of kernels are not kept: %s", error)
            return None
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
