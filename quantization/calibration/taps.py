"""A backend that reports the activations of chosen layers while the pipeline runs.

A tapped graph is the bundle's graph with more outputs. The pipeline reads the outputs of the
contract, and a callback gets the rows of the activations. Weights stay in the bundle's file, and
nothing is written. A graph in bf16 is widened, so that a CPU can run it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir

from omnijet.engines.lowering.widened import widen, widened_contract
from omnijet.engines.widened_backend import WidenedBackend
from omnijet.export.graphfile.loading import graph_bytes, load_graph
from omnijet.quantization.calibration.limits import ROWS
from omnijet.quantization.graph_layers import layers_of
from omnijet.quantization.layers import Layer
from omnijet.runtime.backends.ort_cpu import boundary
from omnijet.runtime.backends.ort_graph import OrtBound, OrtState
from omnijet.runtime.backends.ort_session import OrtSession
from omnijet.runtime.backends.protocol import Graph, State
from omnijet.runtime.bundle.contract import Array, GraphContract, verify
from omnijet.runtime.errors import OmnijetError

Seen = Callable[[str, str, Array], None]
"""Receives (graph, activation, [rows, inputs] in the graph's precision) after each call. The callee
may keep the rows."""

PADDED = {"audio_encoder": "key_mask", "dit_step": "mask_self"}
"""Input that marks the real positions of a graph; the others reach no result. Activations have a
row for each position in every branch, but those with two axes have a row for each token."""


class TappedBackend:
    """ONNX Runtime that reports activations.

    Args:
        wanted: names of activations (`Layer.activation`) for each graph.
        seen: receives the rows of these activations.
        rows: most rows of an activation for each call, evenly spaced. All outputs of a call are
            held at once, and a large picture has many rows.
        threads: see `OrtBackend`.
        low_memory: weights stay mapped from their files and pass through memory layer by layer in
            every call, instead of as packed copies: slower.
    """

    name = "onnxruntime-cpu, tapped"
    precisions = WidenedBackend.precisions

    def __init__(
        self,
        wanted: Mapping[str, Collection[str]],
        seen: Seen,
        rows: int = ROWS,
        threads: int = 0,
        low_memory: bool = False,
    ) -> None:
        self._wanted = wanted
        self._seen = seen
        self._rows = rows
        self._plain = WidenedBackend(threads, optimize=not low_memory)

    def limit(self, graph: str, symbol: str) -> int | None:
        return None

    def close(self) -> None:
        self._plain.close()

    def load(self, path: Path, contract: GraphContract) -> Graph:
        """Loads a graph with taps.

        Raises:
            OmnijetError: see `Backend.load`; or the graph lacks a wanted activation.
        """
        wanted = self._wanted.get(contract.name)
        if not wanted:
            return self._plain.load(path, contract)
        model = load_graph(path)
        taps = _find(layers_of(model, contract.name), wanted, path)
        for layers in taps.values():
            _tap(model, layers[0], self._rows, PADDED.get(contract.name))
        widen(model)
        contract = widened_contract(contract)
        altered = graph_bytes(model)
        session = self._plain.session(path, contract.name, altered)
        found = boundary(session)
        outputs = [output for output in found.outputs if output.name not in map(_output, taps)]
        verify(contract, found.inputs, outputs, path)
        closable = self._plain.closable(session, contract.name)
        return TappedGraph(closable, contract, taps, self._seen)


class TappedGraph:
    """A loaded graph, and the layers that read each tapped activation."""

    def __init__(
        self, session: OrtSession, contract: GraphContract, taps: dict[str, list[Layer]], seen: Seen
    ) -> None:
        self._session = session
        self.contract = contract
        self.growth: int | None = None
        self.joins = False  # so that each frame of a clip gives its share of rows
        self._taps = taps
        self._seen = seen

    def bind(
        self, sizes: Mapping[str, int], state: State | None = None, kept: bool = False
    ) -> TappedBound:
        assert state is None or isinstance(state, OrtState)
        return TappedBound(self._session, self.contract, sizes, state, self._taps, self._seen)

    def new_state(self, capacity: int) -> OrtState:
        return OrtState(self.contract, capacity)

    def limit(self, symbol: str) -> int | None:
        return None


class TappedBound(OrtBound):
    """Buffers of the contract's tensors; ONNX Runtime allocates the tapped outputs."""

    def __init__(
        self,
        session: OrtSession,
        contract: GraphContract,
        sizes: Mapping[str, int],
        state: OrtState | None,
        taps: dict[str, list[Layer]],
        seen: Seen,
    ) -> None:
        super().__init__(session, contract, sizes, state)
        self._graph = contract.name
        self._first = len(contract.outputs)
        self._taps = taps
        self._seen = seen
        self._bind_taps()

    def run(self) -> None:
        super().run()
        values = self.binding.made.get_outputs()[self._first :]
        for (activation, layers), value in zip(self._taps.items(), values, strict=True):
            rows = value.numpy()
            if not np.isfinite(rows).all():
                names = ", ".join(layer.name for layer in layers)
                raise OmnijetError(
                    "activations are not finite",
                    where=f"{self._graph}: {activation}, read by {names}",
                    got=f"{int((~np.isfinite(rows)).sum())} NaN or infinite of {rows.size} values",
                    fix="export the bundle with --dtype f32 and quantize that",
                )
            self._seen(self._graph, activation, rows)
        self._bind_taps()

    def _bind_taps(self) -> None:
        """Binds tapped outputs anew: the last run's are freed instead of overwritten."""
        for activation in self._taps:
            self.binding.made.bind_output(_output(activation), "cpu")


def _find(layers: list[Layer], wanted: Collection[str], path: Path) -> dict[str, list[Layer]]:
    """Returns the layers that read each wanted activation, in the order of the graph."""
    found: dict[str, list[Layer]] = {}
    for layer in layers:
        if layer.activation in wanted:
            found.setdefault(layer.activation, []).append(layer)
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise OmnijetError(
            f"the graph has no layer that reads {len(missing)} of the wanted activations",
            where=path,
            expected="activations of its layers",
            got=", ".join(missing[:8]),
        )
    return found


def _output(activation: str) -> str:
    return f"{activation}/tapped"


def _tap(model: ir.Model, layer: Layer, most: int, padded: str | None) -> None:
    """Adds an output with at most `most` real rows of a layer's activation."""
    graph = model.graph
    value = next(
        value for node in graph for value in node.inputs if value and value.name == layer.activation
    )
    assert value.shape is not None and value.dtype is not None

    def made(op: str, inputs: list[ir.Value], **attributes: int) -> ir.Value:
        node = ir.node(op, inputs, attributes or None)
        graph.append(node)
        return node.outputs[0]

    def number(content: int) -> ir.Value:
        node = ir.node("Constant", [], {"value_ints": [content]})
        graph.append(node)
        return node.outputs[0]

    def length(rows: ir.Value) -> ir.Value:
        return made("Shape", [rows], start=0, end=1)

    flat = ir.node("Constant", [], {"value_ints": [-1, layer.inputs]})
    graph.append(flat)
    rows = made("Reshape", [value, flat.outputs[0]])
    if padded is not None and len(value.shape) > 2:
        mask = next(item for item in graph.inputs if item.name == padded)
        real = made("Reshape", [mask, number(-1)])
        branches = made("Div", [length(rows), length(real)])
        rows = made("Compress", [rows, made("Tile", [real, branches])], axis=0)
    step = made("Div", [made("Add", [length(rows), number(most - 1)]), number(most)])
    step = made("Max", [step, number(1)])
    output = made("Slice", [rows, number(0), number(2**62), number(0), step])
    output.name = _output(layer.activation)
    output.dtype = value.dtype
    output.shape = ir.Shape([None, layer.inputs])
    graph.outputs.append(output)
