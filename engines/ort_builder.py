"""Builds graphs for ONNX Runtime: the lowered graph, or what its optimizer makes of that."""

from __future__ import annotations

import logging
import os
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from omnijet.engines.build import Bars, Builder, Made
from omnijet.engines.faults import process_fault, unread_graph
from omnijet.engines.lowered_operators import LOWERED
from omnijet.engines.lowering.flavours import flavour_for, form_of
from omnijet.engines.optimized_graph import tidy
from omnijet.engines.ort_forms import OPTIMIZED, packs
from omnijet.engines.plan import Planned
from omnijet.engines.process import ORT_WORKER, Died, run_worker
from omnijet.runtime.backends.instructions import instruction_sets
from omnijet.runtime.backends.ort_cpu import unsaturated
from omnijet.runtime.bundle.manifest import EngineEntry, Manifest, OrtForm
from omnijet.runtime.errors import OmnijetError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OrtBuilder(Builder):
    """Makes graphs for ONNX Runtime, on the CPU or with CUDA."""

    def make(self, manifest: Manifest, scratch: Path, one: Planned, bars: Bars) -> Made:
        """Reads the lowered graph in a process of its own, and has it optimized if that is worth
        it; where the optimizer fails, the lowered graph stays.
        """
        graph = scratch / f"{one.graph}.onnx"
        on_cpu = self.target.device.name == "cpu"
        tuned = on_cpu and self.target.toolkit.made_for is None and one.graph in OPTIMIZED
        job = {
            "do": "read", "graph": graph.name, "kernels": on_cpu,
            "entries": unsaturated(graph.read_bytes()),
        }  # fmt: skip
        verdict = self._run(one, job, scratch)
        if not verdict["done"]:
            raise unread_graph(verdict, one.graph, self.target)
        seconds, peak = verdict["seconds"], verdict["peak_bytes"]
        optimized = False
        if tuned:
            bars.building("optimizing", 0, 1)
            better = self._optimized(manifest, scratch, one, job)
            if better is not None:
                optimized, seconds = True, seconds + better["seconds"]
                peak = max(peak, better["peak_bytes"])
            bars.building("optimizing", 1, 1)
        nodes = Counter(
            node.op_type for node in onnx.load(graph, load_external_data=False).graph.node
        )
        form = OrtForm(
            weights=one.beside,
            precision=flavour_for(self.target).precision or manifest.precision,
            packs=packs(graph),
            optimized=optimized,
            # the lowering writes blocks of channels for this processor, optimized or not
            instructions=instruction_sets() if tuned else (),
        )
        entry = EngineEntry(
            file=one.file,
            key=one.key,
            library="onnxruntime",
            version=self.target.toolkit.made_for or verdict["version"],
            compute_capability=0,
            profiles=(),
            caches_in_place=True,
            bytes=sum(path.stat().st_size for path in (graph, graph.with_suffix(".weights"))),
            layers=nodes.total(),
            build_seconds=round(seconds, 1),
            peak_bytes=peak,
            ort=form,
        )
        return Made(entry, {"of": "graph", "kinds": dict(nodes.most_common()), "numbers": {}})

    def _optimized(
        self, manifest: Manifest, scratch: Path, one: Planned, job: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Puts what the optimizer saves in the place of the lowered graph; returns the verdict of
        the worker, or None if the lowered graph stays.
        """
        folder = scratch / "optimized"
        made = folder / f"{one.graph}.onnx"
        contract = flavour_for(self.target).contract(manifest.contracts[one.graph])
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            more = {"do": "optimize", "made": f"optimized/{made.name}",
                    "weights": f"{one.graph}.weights"}  # fmt: skip
            verdict = run_worker(
                self.installed.python, {**job, **more}, folder=scratch, worker=ORT_WORKER
            )
            if not verdict["done"]:
                raise OmnijetError("not optimized", got="; ".join(verdict["said"]))
            tidy(made, contract, LOWERED[form_of(self.target)])
        except (Died, OmnijetError) as error:
            said = error.said if isinstance(error, Died) else error
            _log.info("%s is not optimized: %s", one.graph, said)
            return None
        else:
            for path in (made, made.with_suffix(".weights")):
                os.replace(path, scratch / path.name)
            return verdict
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _run(self, one: Planned, job: Mapping[str, Any], scratch: Path) -> dict[str, Any]:
        try:
            return run_worker(self.installed.python, job, folder=scratch, worker=ORT_WORKER)
        except Died as died:
            raise process_fault(died, one.graph, one.predicted, self.target) from died
