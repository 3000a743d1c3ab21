"""The graphs that `omnijet build` made of a bundle for ONNX Runtime, and which can be used here.

A built graph is as good as the canonical one and faster. Where one does not fit this machine, the
canonical graph runs in its place, and one line says why and what to type.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnxruntime

from omnijet.runtime.backends.instructions import instruction_sets
from omnijet.runtime.backends.ort_release import release_of
from omnijet.runtime.bundle.contract import GraphContract
from omnijet.runtime.bundle.folder import Bundle, misfits, rebuild_command
from omnijet.runtime.bundle.manifest import EngineEntry, OrtForm
from omnijet.runtime.files.printable import printable

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BuiltGraph:
    """One graph that was built and fits.

    Attributes:
        contract: what it keeps: its caches may have another precision than the bundle's.
        names: its files, as the manifest names them.
    """

    path: Path
    contract: GraphContract
    form: OrtForm
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BuiltGraphs:
    """The built graphs of a bundle that fit this machine, by name.

    Attributes:
        total: how many graphs the bundle has, built or not.
        target: the target that they were built for.
    """

    bundle: Bundle
    target: str
    graphs: Mapping[str, BuiltGraph] = field(default_factory=dict)
    total: int = 0

    @staticmethod
    def of(bundle: Bundle, target: str) -> BuiltGraphs:
        """Chooses the graphs; says in one line of the log why others stay unused."""
        manifest, found, reasons = bundle.manifest, {}, Counter[str]()
        for name, entry in manifest.engines.get(target, {}).items():
            if (form := entry.ort) is None or name not in manifest.graphs:
                continue
            if (reason := misfit(bundle, entry, form)) is not None:
                reasons[reason] += 1
                continue
            contract = manifest.contracts_in(form.precision)[name]
            found[name] = BuiltGraph(bundle.folder / entry.file, contract, form, entry.files)
        made = BuiltGraphs(bundle, target, found, len(manifest.graphs))
        if reasons:
            made.tell(", ".join(f"{reason} ({count})" for reason, count in reasons.items()))
        return made

    @property
    def all_in_f32(self) -> bool:
        """Whether every graph of the model is built, with caches in f32: kernels in the bundle's
        own precision are not needed then.
        """
        precisions = {one.form.precision for one in self.graphs.values()}
        return len(self.graphs) == self.total and precisions == {"f32"}

    @property
    def share(self) -> str:
        """How much of the model is built, in words."""
        count = len(self.graphs)
        return "built graphs" if count == self.total else f"{count} of {self.total} graphs built"

    def tell(self, reason: str) -> None:
        """Logs why the graphs of the bundle run as they are."""
        _log.warning(
            "graphs that were built for %s are not used: %s; build them again: %s",
            self.target, printable(reason), rebuild_command(self.bundle.folder, self.target),
        )  # fmt: skip


def misfit(bundle: Bundle, entry: EngineEntry, form: OrtForm) -> str | None:
    """Returns why a built graph cannot be used here, or None."""
    known, here = bundle.manifest.files, onnxruntime.__version__
    if faults := misfits(bundle.folder, {name: known[name] for name in entry.files}):
        return faults[0]
    if form.optimized and entry.version != here:
        return f"made by ONNX Runtime {entry.version}, and this is {here}"
    if release_of(entry.version) > release_of(here):
        return f"made for ONNX Runtime {entry.version} or newer, and this is {here}"
    if form.instructions and form.instructions != instruction_sets():
        return "made for another processor"
    return None
