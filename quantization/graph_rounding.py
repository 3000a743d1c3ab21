"""Rounds the layers of several graphs, and writes one graph after another."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omnijet.engines.lowering.frame import Lowering
from omnijet.quantization.calibration.state import Place
from omnijet.quantization.graph_writer import GraphWriter
from omnijet.quantization.layers import Layer
from omnijet.quantization.numerics.apply import snr_of
from omnijet.quantization.numerics.statistics import Statistics
from omnijet.quantization.rounding_job import Rounded, RoundingJob, jobs_of, round_job
from omnijet.quantization.schemes import Scheme
from omnijet.quantization.weights import Change
from omnijet.quantization.workers import Ordered
from omnijet.runtime.bundle.finished import FinishedGraph
from omnijet.runtime.bundle.folder import Bundle

Plan = Mapping[Layer, Scheme]
Report = dict[str, dict[str, Any]]
"""What became of each layer."""


@dataclass(slots=True)
class GraphRounding:
    """Rounds layers by a runner and writes them in their order, with one count for all graphs.

    The runner works on the next graph while one is finished here.

    Attributes:
        folder: the folder of the new graphs.
        lowering: see `GraphWriter`.
        progress: receives the layers done.
    """

    bundle: Bundle
    plan: Plan
    seen: Mapping[Place, Statistics]
    folder: Path
    lowering: Lowering | None
    run: Ordered[RoundingJob, list[Rounded]]
    progress: Callable[[int], None]
    _writers: dict[str, GraphWriter] = field(default_factory=dict)
    _waiting: deque[RoundingJob] = field(default_factory=deque)
    _done: int = 0

    def graphs(self, names: Sequence[str]) -> Iterator[tuple[str, FinishedGraph]]:
        """Yields each graph when its files are complete.

        Raises:
            OmnijetError: a weight cannot be rounded, or the bundle's files changed meanwhile.
        """
        left = {name: sum(layer.graph == name for layer in self.plan) for name in names}
        reports: dict[str, Report] = {name: {} for name in names}
        parts: list[Rounded] = []
        try:
            for made in self.run(round_job, self._jobs(names)):
                job = self._waiting.popleft()
                name = job.layers[0].graph
                for layer, rounded in zip(job.layers, made, strict=True):
                    parts.append(rounded)
                    if job.columns is not None and job.columns.stop < layer.outputs:
                        continue
                    change = Change.joined([part.change for part in parts])
                    reports[name][layer.name] = _figures(layer, job.scheme, change, parts)
                    parts.clear()
                    self._writers[name].change(layer, change)
                    self._done += 1
                    self.progress(self._done)
                    left[name] -= 1
                if not left[name]:
                    yield name, self._finished(name, reports[name])
        finally:
            for writer in self._writers.values():
                writer.close()

    def _jobs(self, names: Sequence[str]) -> Iterator[RoundingJob]:
        for name in names:
            writer = self._opened(name)
            groups: defaultdict[tuple[str, Scheme], list[Layer]] = defaultdict(list)
            for layer, scheme in self.plan.items():
                if layer.graph == name:
                    groups[layer.activation, scheme].append(layer)
            for (activation, scheme), layers in groups.items():
                sources = [writer.source(layer) for layer in layers]
                for job in jobs_of(layers, sources, scheme, self.seen.get((name, activation))):
                    self._waiting.append(job)
                    yield job

    def _opened(self, name: str) -> GraphWriter:
        entry, contract = self.bundle.manifest.graphs[name], self.bundle.manifest.contracts[name]
        with self.bundle.watch.steady(entry.file, entry.weights):
            writer = GraphWriter(self.bundle.graph(name), contract, self.folder, self.lowering)
        self._writers[name] = writer
        return writer

    def _finished(self, name: str, report: Report) -> FinishedGraph:
        before = self.bundle.manifest.graphs[name]
        # all that was read of it since it was opened, was read of these very files
        with self.bundle.watch.steady(before.file, before.weights):
            entry = self._writers[name].finish(_ignore)
        return FinishedGraph(entry, self._writers.pop(name).files, report)


def _figures(
    layer: Layer, scheme: Scheme, change: Change, parts: Sequence[Rounded]
) -> dict[str, Any]:
    losses = [loss for part in parts for loss in part.losses]
    return {
        "scheme": str(scheme),
        "snr_db": _figure(snr_of(losses)) if losses else None,
        "bytes": change.weight.stored_bytes(layer.itemsize),
        "float_bytes": layer.float_bytes,
    }


def _figure(snr: float) -> float:
    """Returns an SNR as a manifest has it: JSON has no infinity, and 1000 dB are beyond any."""
    return -1000.0 if math.isnan(snr) else min(max(float(snr), -1000.0), 1000.0)


def _ignore(count: int) -> None:
    """Ignores the bytes: the progress bar of the layers is enough."""
