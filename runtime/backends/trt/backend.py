"""The backend of the engines that `omnijet build` put into a bundle."""

from __future__ import annotations

from pathlib import Path

from omnijet.runtime.backends.opened import Opened
from omnijet.runtime.backends.protocol import BackendRequest
from omnijet.runtime.backends.trt.device import Device
from omnijet.runtime.backends.trt.engine import Engine
from omnijet.runtime.backends.trt.graph import EngineGraph, largest
from omnijet.runtime.backends.trt.library import TITLES, load_library
from omnijet.runtime.bundle.contract import GraphContract, Precision
from omnijet.runtime.bundle.folder import Bundle, misfits, rebuild_command
from omnijet.runtime.bundle.manifest import EngineEntry
from omnijet.runtime.errors import OmnijetError


class EngineBackend:
    """A bundle's engines of one target.

    Everything that can be checked without reading an engine is checked here, before any work: the
    files are complete, the library is installed in the version that built them, and the GPU is
    the one they were built for. The bundle is never changed.

    Raises:
        OmnijetError: a check failed; how to mend it.
    """

    precisions: tuple[Precision, ...] = ("f32", "f16", "bf16")

    def __init__(self, bundle: Bundle, target: str) -> None:
        self._bundle, self._target = bundle, target
        self._opened = Opened()
        self._fix = rebuild_command(bundle.folder, target)
        self._entries = bundle.manifest.engines.get(target, {})
        if not self._entries or target not in bundle.manifest.engine_targets:
            there = ", ".join(bundle.manifest.engine_targets)
            raise OmnijetError(
                f"what was built for {target} are graphs for ONNX Runtime, and no engines"
                if self._entries
                else f"the bundle has no engines for {target}",
                where=bundle.folder,
                expected=f"one of: {there}" if there else "engines, of which it has none",
                got=repr(target),
                fix=f"--provider {target}, which takes what was built for it"
                if self._entries
                else f"build them: `{rebuild_command(bundle.folder, 'auto')}`",
            )
        self._check_files()
        first = next(iter(self._entries.values()))
        assert first.library != "onnxruntime", target
        self._library = load_library(first.library, first.version)
        self._device = Device.open()
        self.name = f"{first.library} {first.version} on {self._device.properties.name}"
        self._check_versions()

    @classmethod
    def for_request(cls, request: BackendRequest) -> EngineBackend:
        return cls(request.bundle, request.name)

    def load(self, path: Path, contract: GraphContract) -> EngineGraph:
        """Loads the engine of the graph; `path`, its ONNX file, is not read."""
        self._opened.require_open(contract.name)
        entry = self._entries.get(contract.name)
        if entry is None:
            raise OmnijetError(
                f"the bundle has no engine of {contract.name} for {self._target}",
                where=self._bundle.folder,
                got="engines of " + ", ".join(self._entries),
                fix=self._fix,
            )
        file = self._bundle.manifest.files[entry.file]
        with self._bundle.watch.reading(entry.file):
            engine = Engine(
                self._library, self._device, self._bundle.folder / entry.file, file.sha256,
                contract, entry, self._fix,
            )  # fmt: skip
        self._opened.add(engine, contract.name)
        return self._opened.add(EngineGraph(engine), contract.name)

    def limit(self, graph: str, symbol: str) -> int | None:
        entry = self._entries.get(graph)
        return None if entry is None else largest(entry.profiles, symbol)

    def close(self) -> None:
        self._opened.close()

    def _check_files(self) -> None:
        """Checks the engine files: they may be left behind when a bundle is copied, which is
        complete without them.
        """
        known = self._bundle.manifest.files
        files = {entry.file: known[entry.file] for entry in self._entries.values()}
        if faults := misfits(self._bundle.folder, files):
            raise OmnijetError(
                f"{len(faults)} of {len(files)} engines for {self._target} "
                "differ from the manifest",
                where=self._bundle.folder,
                got="\n            ".join(faults),
                fix=self._fix,
            )

    def _check_versions(self) -> None:
        faults = [
            fault for name, entry in self._entries.items() for fault in self._misfits(name, entry)
        ]
        if faults:
            raise OmnijetError(
                "the engines were built for something else",
                where=self._bundle.folder,
                expected=f"{self._library.__name__} {self._library.__version__}, "
                f"SM{self._device.properties.compute_capability} ({self._device.properties.name})",
                got="\n            ".join(faults),
                fix=f"build them for this machine: "
                f"`{rebuild_command(self._bundle.folder, self._target_here())}`",
            )

    def _target_here(self) -> str:
        """Returns the target to build for: this one if only the library's version is another."""
        here = self._device.properties.compute_capability
        is_here = all(entry.compute_capability == here for entry in self._entries.values())
        return self._target if is_here else "auto"

    def _misfits(self, name: str, entry: EngineEntry) -> list[str]:
        faults = []
        first = next(iter(self._entries.values()))
        if (entry.library, entry.version) != (first.library, self._library.__version__):
            faults.append(f"{name}: {TITLES[entry.library]} {entry.version}")
        if entry.compute_capability != self._device.properties.compute_capability:
            faults.append(f"{name}: SM{entry.compute_capability}")
        return faults
