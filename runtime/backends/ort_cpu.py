"""ONNX Runtime on the CPU, with buffers that it shares with numpy.

Its GPU providers are in `omnijet.runtime.backends.ort_gpu`.

Inputs, outputs and caches are numpy arrays that ONNX Runtime reads and writes directly.
Binding a cache to both its input and its output makes TensorScatter write in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import onnxruntime
from onnxruntime.capi import _pybind_state

from omnijet.runtime.backends.instructions import VNNI, instruction_sets
from omnijet.runtime.backends.opened import Opened
from omnijet.runtime.backends.ort_built import BuiltGraphs
from omnijet.runtime.backends.ort_graph import OrtGraph, shared
from omnijet.runtime.backends.ort_installed import cpu_target, require_release
from omnijet.runtime.backends.ort_session import OrtSession, severity
from omnijet.runtime.backends.protocol import BackendRequest
from omnijet.runtime.bundle.contract import (
    Array,
    FoundTensor,
    GraphContract,
    Precision,
    verify,
)
from omnijet.runtime.bundle.graph_rules import how_to_mend, require_own_graph, weights_beside
from omnijet.runtime.bundle.manifest import OrtForm
from omnijet.runtime.bundle.operators import CPU as CPU_FORM
from omnijet.runtime.bundle.operators import FUSED, Operators
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.shortage import out_of_memory, ran_out

G = TypeVar("G")

# accuracy levels of MatMulNBits, which ONNX Runtime makes of DequantizeLinear and MatMul
INTEGER_PRODUCTS, FLOAT_PRODUCTS = "4", "1"
_REST_AFTER_RUN = "session.force_spinning_stop"
"""Each graph has threads of its own. Without this they wait busily for its next run, and keep cores
from the graph that runs meanwhile.
"""
_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"

_TYPE_NAMES = {
    "tensor(float)": "f32",
    "tensor(float16)": "f16",
    "tensor(bfloat16)": "bf16",
    "tensor(int64)": "i64",
    "tensor(bool)": "bool",
}


Providers = list[tuple[str, dict[str, str]]]
"""Providers of ONNX Runtime with their options: what one does not take goes to the next."""


class OrtBackend:
    """ONNX Runtime on the CPU, and the base of its other providers.

    Args:
        threads: intra-op threads; 0 lets ONNX Runtime choose (one per core).
        optimize: False loads without graph optimisation and weight packing: slow to run, but
            quick and small to load, and weights pass through memory one by one.
        integer_products: whether activations are rounded to 8 bits, each block of a row with a
            scale of its own, where they meet weights of 4 or 8 bits. That changes a product by
            0.5 %, or by 2 % where outliers are 30 times the rest; rounding the weights to 4 bits
            changes it by 5 to 10 %. False multiplies floats: exact, at half the speed. Graphs of
            floats do not change.
        built: the graphs that run in place of a bundle's own; without them the canonical graphs
            run, as what measures and checks a bundle needs.
    """

    name: str = "onnxruntime-cpu"
    operators: Operators = CPU_FORM
    precisions: tuple[Precision, ...] = ("f32", "f16")  # Attention has no kernel for bf16

    def __init__(
        self,
        threads: int = 0,
        *,
        optimize: bool = True,
        integer_products: bool = True,
        built: BuiltGraphs | None = None,
    ) -> None:
        if built is None or not built.graphs:
            require_release(None if built is None else built.bundle.folder)
        self._threads = threads
        self._providers: Providers = [("CPUExecutionProvider", {})]
        self._optimize = optimize
        self._accuracy_level = INTEGER_PRODUCTS if integer_products else FLOAT_PRODUCTS
        self._opened = Opened()
        self._built = built
        self._forms: dict[Path, OrtForm] = {}
        if built is not None and built.graphs:
            self.name = f"{self.name}, {built.share}"
            self._forms = {one.path: one.form for one in built.graphs.values()}
            if built.all_in_f32:
                self.precisions = (*self.precisions, "bf16")

    @classmethod
    def for_request(cls, request: BackendRequest) -> OrtBackend:
        built = BuiltGraphs.of(request.bundle, cpu_target()) if request.built else None
        return cls(request.threads, built=built)

    def load(self, path: Path, contract: GraphContract) -> OrtGraph:
        """Loads the built graph if there is one that fits, else the graph at `path`."""
        self._opened.require_open(contract.name)
        return self.best(path, contract, self.plain)

    def best(
        self, path: Path, contract: GraphContract, load: Callable[[Path, GraphContract], G]
    ) -> G:
        """Loads the built graph of this contract's name, or else the graph at `path`.

        An ONNX Runtime that lacks an operator of a built graph runs the canonical one, if it can.
        """
        built = self._built
        one = None if built is None else built.graphs.get(contract.name)
        if built is None or one is None:
            require_release(None if built is None else built.bundle.folder)
            return load(path, contract)
        try:
            with built.bundle.watch.reading(*one.names):
                return load(one.path, one.contract)
        except OmnijetError as error:
            if not lacks_kernel(error):
                raise
            built.tell(f"{contract.name}: {error.got}")
            require_release(built.bundle.folder)
        return load(path, contract)

    def plain(self, path: Path, contract: GraphContract) -> OrtGraph:
        """Loads the graph at `path`, canonical or built."""
        session = self.session(path, contract.name)
        found = boundary(session)
        verify(contract, found.inputs, found.outputs, path)
        return OrtGraph(self.closable(session, contract.name), contract)

    def limit(self, graph: str, symbol: str) -> int | None:
        return None

    def close(self) -> None:
        self._opened.close()

    def closable(self, session: Any, name: str) -> OrtSession:
        """Wraps what `session` made, so that `close` reaches it.

        Raises:
            OmnijetError: the backend was closed.
        """
        return self._opened.add(OrtSession(session, name), name)

    def session(
        self,
        path: Path,
        name: str,
        altered: bytes | None = None,
        weights: Mapping[str, Array] | None = None,
        providers: Providers | None = None,
    ) -> Any:
        """Loads a graph file as a session of onnxruntime; its boundary is not checked.

        Args:
            name: the name of the graph, for messages.
            altered: a graph to load in place of the file; it uses the weights beside the file.
            weights: arrays by name that replace weights of the file; they must live as long as
                the session.
            providers: replace the backend's own.

        Raises:
            OmnijetError: the file is missing, is no graph of ours, or cannot be loaded.
        """
        if altered is None and not path.exists():
            raise OmnijetError(
                f"graph {name} was left out of this bundle",
                where=path,
                fix="run its engines (--engines T), or copy the graphs here again",
            )
        form = self._forms.get(path)
        operators = self.operators
        if form is not None and self._built is not None:
            operators = FUSED[self._built.target]
        require_own_graph(path, name, operators)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = severity()
        # Shapes differ from call to call: a memory plan per shape would only pile up.
        options.enable_mem_pattern = False
        options.add_session_config_entry(
            "session.qdq_matmulnbits_accuracy_level", self._accuracy_level
        )
        options.add_session_config_entry(_REST_AFTER_RUN, "1")
        for key, value in unsaturated(path.read_bytes() if altered is None else altered).items():
            options.add_session_config_entry(key, value)
        if form is not None and form.optimized:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        if form is not None and not form.packs:
            options.add_session_config_entry("session.disable_prepacking", "1")
        if not self._optimize:
            level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.graph_optimization_level = level
            options.add_session_config_entry("session.disable_prepacking", "1")
            # In the usual order all weights of f16 are made f32 before the first product; an
            # arena would keep the room of the largest.
            options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
            options.enable_cpu_mem_arena = False
        if weights:
            values = [shared(one) for one in weights.values()]
            options.add_external_initializers(list(weights), values)
        if altered is not None:
            options.add_session_config_entry(
                _WEIGHTS_FOLDER, str(weights_beside(path).resolve().parent)
            )
        try:
            return onnxruntime.InferenceSession(
                str(path) if altered is None else altered,
                options,
                providers=self._providers if providers is None else providers,
                enable_fallback=0,  # it prints, and tries the same again
            )
        except Exception as error:  # onnxruntime's own classes share no narrower base
            raise _not_loaded(name, path, error) from error


def unsaturated(graph: bytes) -> dict[str, str]:
    """Returns session options with which products of 8 bits are right on every processor.

    On x86 without VNNI, sums of two products of u8 and s8 saturate at 16 bits, and outputs are
    wrong (BENCHMARKS.md, "Quantization"). Lowered graphs get weights of u8 there. That is left out
    where VNNI sums in 32 bits, because a product takes twice as long with it. Of standard graphs it
    makes wrong ones (ONNX Runtime 1.32): those are computed in floats, as they are written.
    """
    if b"MatMulIntegerToFloat" in graph:
        return {} if VNNI & set(instruction_sets()) else {"session.x64quantprecision": "1"}
    if b"QuantizeLinear" in graph:  # of activations; DequantizeLinear has a small q
        return {"session.disable_quant_qdq": "1"}
    return {}


class Boundary(NamedTuple):
    """The inputs and outputs of a session."""

    inputs: list[FoundTensor]
    outputs: list[FoundTensor]


def boundary(session: Any) -> Boundary:
    """Reads the boundary that the session's file declares."""
    return Boundary(
        [_found(arg) for arg in session.get_inputs()],
        [_found(arg) for arg in session.get_outputs()],
    )


def declared(path: Path, name: str) -> Boundary:
    """Reads the boundary of a graph that need not be runnable here: the file is read and its types
    are inferred, but no kernel is looked up and no weight is read.

    Raises:
        OmnijetError: the file is no graph of ours, or this onnxruntime is too old to read it.
    """
    require_release()
    require_own_graph(path, name)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = severity()
    try:
        # what `InferenceSession` is made of, before its kernels are chosen
        half = _pybind_state.InferenceSession(options, str(path), True, False)
        return Boundary(
            [_found(arg) for arg in half.inputs_meta], [_found(arg) for arg in half.outputs_meta]
        )
    except Exception as error:  # as in `OrtBackend.session`
        raise _not_loaded(name, path, error) from error


def lacks_kernel(error: OmnijetError) -> bool:
    """Returns whether a graph was refused by onnxruntime itself: for an operator that it does not
    have, not for want of memory, nor by a rule of ours.
    """
    cause = error.__cause__
    return (
        cause is not None
        and type(cause).__module__.startswith("onnxruntime")
        and not ran_out(cause)
    )


def _not_loaded(name: str, path: Path, error: Exception) -> OmnijetError:
    if ran_out(error):
        return out_of_memory(error, f"memory ran out while graph {name} was loaded", path)
    return OmnijetError(
        f"graph {name} cannot be loaded",
        where=path,
        expected="an ONNX graph with its weight file beside it",
        got=str(error).strip().splitlines()[0][:300],
        fix=how_to_mend(path),
    )


def _found(arg: Any) -> FoundTensor:
    axes = tuple(a if isinstance(a, int | str) else None for a in arg.shape)
    return FoundTensor(arg.name, _TYPE_NAMES.get(arg.type, arg.type), axes)
