"""Runs bundles in bf16 on ONNX Runtime's CPU, which has no bf16 kernels.

Tests and calibration use this backend. It is slow, and nothing on a device uses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omnijet.engines.lowering.widened import widen, widened_contract
from omnijet.export.graphfile.loading import graph_bytes, load_graph
from omnijet.runtime.backends.ort_cpu import OrtBackend, Providers
from omnijet.runtime.backends.ort_graph import OrtGraph
from omnijet.runtime.bundle.contract import Array, GraphContract, Precision


class WidenedBackend(OrtBackend):
    """Widens graphs in bf16 when it loads them, caches to f32; other graphs stay as they are."""

    name = "onnxruntime-cpu, bf16 widened"
    precisions: tuple[Precision, ...] = ("f32", "f16", "bf16")

    def load(self, path: Path, contract: GraphContract) -> OrtGraph:
        return super().load(path, widened_contract(contract))

    def session(
        self,
        path: Path,
        name: str,
        altered: bytes | None = None,
        weights: Mapping[str, Array] | None = None,
        providers: Providers | None = None,
    ) -> Any:
        """Opens a session; an `altered` graph must be widened already."""
        if altered is None:
            model = load_graph(path, self.operators)
            if widen(model):
                altered = graph_bytes(model)
        return super().session(path, name, altered, weights, providers)
