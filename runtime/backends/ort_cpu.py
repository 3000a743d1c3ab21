"""ONNX Runtime on the CPU, with buffers that it shares with numpy.

Its GPU providers are in `omnijet.runtime.backends.ort_gpu`.

Inputs, outputs and caches are numpy arrays that ONNX Runtime reads and writes directly.
Binding a cache to both its input and its output makes TensorScatter write in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from onnxruntime.capi import _pybind_state

from omnijet.runtime.backends.opened import Opened
from omnijet.runtime.backends.ort_session import OrtSession
from omnijet.runtime.backends.protocol import BackendRequest, State, require_state
from omnijet.runtime.bundle.contract import (
    NUMPY_DTYPES,
    Array,
    FoundTensor,
    GraphContract,
    Precision,
    verify,
)
from omnijet.runtime.errors import OmnijetError

OLDEST_RELEASE = (1, 25)  # has TensorScatter and its Attention on the CPU
OLDEST_TEXT = ".".join(map(str, OLDEST_RELEASE))

# accuracy levels of MatMulNBits, which ONNX Runtime makes of DequantizeLinear and MatMul
INTEGER_PRODUCTS, FLOAT_PRODUCTS = "4", "1"
_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"

_BFLOAT16 = 16  # in ONNX's enumeration of types
_TYPE_NAMES = {
    "tensor(float)": "f32",
    "tensor(float16)": "f16",
    "tensor(bfloat16)": "bf16",
    "tensor(int64)": "i64",
    "tensor(bool)": "bool",
}


def reads_graphs() -> bool:
    """Returns whether this onnxruntime knows the graphs' opset. No onnxruntime for Python 3.10,
    the one of JetPack 6, does: there engines run the bundle.
    """
    return tuple(int(part) for part in onnxruntime.__version__.split(".")[:2]) >= OLDEST_RELEASE


def require_release() -> None:
    """Raises `OmnijetError` if this onnxruntime is too old."""
    if not reads_graphs():
        raise OmnijetError(
            "this onnxruntime is too old for the graphs (opset 24)",
            expected=f"onnxruntime {OLDEST_TEXT} or newer",
            got=f"onnxruntime {onnxruntime.__version__}",
            fix="use Python 3.11 or newer and `pip install -U onnxruntime`; engines run "
            "without it: --engines T",
        )


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
    """

    name = "onnxruntime-cpu"
    precisions: tuple[Precision, ...] = ("f32", "f16")  # Attention has no kernel for bf16

    def __init__(
        self, threads: int = 0, *, optimize: bool = True, integer_products: bool = True
    ) -> None:
        require_release()
        self._threads = threads
        self._providers: Providers = [("CPUExecutionProvider", {})]
        self._optimize = optimize
        self._accuracy_level = INTEGER_PRODUCTS if integer_products else FLOAT_PRODUCTS
        self._opened = Opened()

    @classmethod
    def for_request(cls, request: BackendRequest) -> OrtBackend:
        return cls(request.threads)

    def load(self, path: Path, contract: GraphContract) -> OrtGraph:
        self._opened.require_open(contract.name)
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
            OmnijetError: the file is missing, or cannot be loaded.
        """
        if altered is None and not path.exists():
            raise OmnijetError(
                f"graph {name} was left out of this bundle",
                where=path,
                fix="run its engines (--engines T), or copy the graphs here again",
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = 3
        # Shapes differ from call to call: a memory plan per shape would only pile up.
        options.enable_mem_pattern = False
        options.add_session_config_entry(
            "session.qdq_matmulnbits_accuracy_level", self._accuracy_level
        )
        for key, value in unsaturated(path.read_bytes() if altered is None else altered).items():
            options.add_session_config_entry(key, value)
        if not self._optimize:
            level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.graph_optimization_level = level
            options.add_session_config_entry("session.disable_prepacking", "1")
            # In the usual order all weights of f16 are made f32 before the first product; an
            # arena would keep the room of the largest.
            options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
            options.enable_cpu_mem_arena = False
        if weights:
            values = [_shared(one) for one in weights.values()]
            options.add_external_initializers(list(weights), values)
        if altered is not None:
            options.add_session_config_entry(_WEIGHTS_FOLDER, str(path.absolute().parent))
        try:
            return onnxruntime.InferenceSession(
                str(path) if altered is None else altered,
                options,
                providers=self._providers if providers is None else providers,
            )
        except Exception as error:  # onnxruntime's own classes share no narrower base
            raise _not_loaded(name, path, error) from error


def unsaturated(graph: bytes) -> dict[str, str]:
    """Returns session options with which products of 8 bits are right on every processor.

    On x86 without VNNI, sums of two products of u8 and s8 saturate at 16 bits, and outputs are
    wrong (BENCHMARKS.md, "Quantization"). Lowered graphs get weights of u8 there, which takes
    longer; elsewhere that option is idle. Of standard graphs it makes wrong ones (ONNX Runtime
    1.32): those are computed in floats, as they are written.
    """
    if b"MatMulIntegerToFloat" in graph:
        return {"session.x64quantprecision": "1"}
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
        OmnijetError: the file is no valid graph, or this onnxruntime is too old to read it.
    """
    require_release()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        # what `InferenceSession` is made of, before its kernels are chosen
        half = _pybind_state.InferenceSession(options, str(path), True, False)
        return Boundary(
            [_found(arg) for arg in half.inputs_meta], [_found(arg) for arg in half.outputs_meta]
        )
    except Exception as error:  # as in `OrtBackend.session`
        raise _not_loaded(name, path, error) from error


def _not_loaded(name: str, path: Path, error: Exception) -> OmnijetError:
    return OmnijetError(
        f"graph {name} cannot be loaded",
        where=path,
        expected="an ONNX graph with its weight file beside it",
        got=str(error).strip().splitlines()[0][:300],
        fix="run `omnijet check` on the bundle; if a file is damaged, export it again",
    )


class OrtGraph:
    """A loaded session whose boundary was checked."""

    def __init__(self, session: OrtSession, contract: GraphContract) -> None:
        self._session = session
        self.contract = contract

    def bind(
        self, sizes: Mapping[str, int], state: State | None = None, kept: bool = False
    ) -> OrtBound:
        assert state is None or isinstance(state, OrtState)
        return OrtBound(self._session, self.contract, sizes, state)

    def new_state(self, capacity: int) -> OrtState:
        return OrtState(self.contract, capacity)

    def limit(self, symbol: str) -> int | None:
        return None


class OrtState:
    """KV caches in numpy memory: one array per state pair, shared with the session."""

    def __init__(self, contract: GraphContract, capacity: int) -> None:
        self._contract = contract
        self._allocate(capacity)

    def _allocate(self, capacity: int) -> None:
        self.capacity = capacity
        self.arrays: dict[str, Array] = {}
        self.values: dict[str, Any] = {}
        for pair in self._contract.state:
            spec = self._contract.input(pair.input)
            # Zeros, never garbage: a masked key still multiplies its value by zero.
            array = np.zeros(spec.shape({"capacity": capacity}), NUMPY_DTYPES[spec.dtype])
            self.arrays[pair.input] = array
            self.values[pair.input] = _shared(array)

    def grow(self, capacity: int, filled: int) -> None:
        old = self.arrays
        self._allocate(capacity)
        self._copy_rows(old, filled)

    def copy(self, filled: int) -> OrtState:
        twin = OrtState(self._contract, self.capacity)
        twin._copy_rows(self.arrays, filled)
        return twin

    def _copy_rows(self, arrays: Mapping[str, Array], filled: int) -> None:
        for name, array in self.arrays.items():
            array[:, :, :filled] = arrays[name][:, :, :filled]


class OrtBound:
    """Buffers for fixed sizes, bound once; `run` allocates nothing of ours.

    Attributes:
        binding: what the contract does not know can be bound to it, too.
    """

    def __init__(
        self,
        session: OrtSession,
        contract: GraphContract,
        sizes: Mapping[str, int],
        state: OrtState | None,
    ) -> None:
        self._session = session
        self.binding = session.binding()
        self.inputs: dict[str, Array] = {}
        self.outputs: dict[str, Array] = {}
        made = self.binding.made
        carried = {pair.input for pair in contract.state}
        require_state(contract, sizes, state)
        for spec in contract.inputs:
            if spec.name not in carried:
                array = np.zeros(spec.shape(sizes), NUMPY_DTYPES[spec.dtype])
                self.inputs[spec.name] = array
                made.bind_ortvalue_input(spec.name, _shared(array))
        produced = {pair.output for pair in contract.state}
        for spec in contract.outputs:
            if spec.name not in produced:
                array = np.zeros(spec.shape(sizes), NUMPY_DTYPES[spec.dtype])
                self.outputs[spec.name] = array
                made.bind_ortvalue_output(spec.name, _shared(array))
        if state is not None:
            for pair in contract.state:
                value = state.values[pair.input]
                made.bind_ortvalue_input(pair.input, value)
                made.bind_ortvalue_output(pair.output, value)

    def run(self) -> None:
        self._session.run(self.binding)


def _shared(array: Array) -> Any:
    """Returns an OrtValue over the array's own memory; nothing is copied."""
    if array.dtype == NUMPY_DTYPES["bf16"]:
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, _BFLOAT16)
    return onnxruntime.OrtValue.ortvalue_from_numpy(array)


def _found(arg: Any) -> FoundTensor:
    axes = tuple(a if isinstance(a, int | str) else None for a in arg.shape)
    return FoundTensor(arg.name, _TYPE_NAMES.get(arg.type, arg.type), axes)
