"""ONNX Runtime on a GPU: buffers on the device, and only what was asked for is moved."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime

from runtime.backend import State, require_state
from runtime.contract import NUMPY_DTYPES, Array, GraphContract, verify
from runtime.errors import OmnijetError
from runtime.on_demand import OnDemand
from runtime.ort import OrtBackend, boundary, run_failed

Provider = Literal["cuda", "tensorrt", "nv_tensorrt_rtx"]


@dataclass(frozen=True, slots=True)
class ProviderFacts:
    """What ONNX Runtime calls a provider, its options, and those that take what it leaves."""

    name: str
    options: Mapping[str, str] = field(default_factory=dict)
    others: tuple[str, ...] = ()


_CUDA = "CUDAExecutionProvider"
PROVIDERS: Mapping[Provider, ProviderFacts] = {
    # the memory pool grows by what is asked for, not to the next power of two
    "cuda": ProviderFacts(_CUDA, {"arena_extend_strategy": "kSameAsRequested"}),
    "tensorrt": ProviderFacts(
        "TensorrtExecutionProvider",
        {"trt_engine_cache_enable": "1", "trt_timing_cache_enable": "1"},
        (_CUDA,),
    ),
    "nv_tensorrt_rtx": ProviderFacts("NvTensorRTRTXExecutionProvider", {}, (_CUDA,)),
}


class OrtDeviceBackend(OrtBackend):
    """ONNX Runtime with a provider whose buffers lie on a device.

    Args:
        provider: which.
        device: whose memory buffers take, in ONNX Runtime's words.

    Raises:
        OmnijetError: this onnxruntime has no such provider; how to get one.
    """

    def __init__(self, provider: Provider, threads: int = 0, *, device: str = "cuda") -> None:
        super().__init__(threads)
        facts = PROVIDERS[provider]
        there = onnxruntime.get_available_providers()
        if facts.name not in there:
            raise OmnijetError(
                f"this onnxruntime has no provider {provider}",
                expected=facts.name,
                got=", ".join(there),
                fix="`pip uninstall onnxruntime`, then `pip install onnxruntime-gpu`; on a Jetson "
                "take NVIDIA's wheel for its JetPack. TensorRT-RTX needs a build with it",
            )
        self.name = f"onnxruntime-{provider}"
        self._device = device
        self._first = facts.name
        with_options = [(facts.name, dict(facts.options)), *((one, {}) for one in facts.others)]
        usable = [(name, options) for name, options in with_options if name in there]
        self._providers = [*usable, ("CPUExecutionProvider", {})]

    def load(self, path: Path, contract: GraphContract) -> DeviceGraph:  # type: ignore[override]
        session = self.session(path, contract.name)
        if session.get_providers()[0] != self._first:  # it falls back without an error
            _preload()
            session = self.session(path, contract.name)
        if session.get_providers()[0] != self._first:
            raise OmnijetError(
                f"{self._first} did not start",
                where=path,
                got="running on " + ", ".join(session.get_providers()),
                fix="look for what its libraries need: CUDA and cuDNN of the versions that this "
                "onnxruntime was built with (`pip install 'onnxruntime-gpu[cuda,cudnn]'`), a GPU "
                "and its driver",
            )
        found = boundary(session)
        verify(contract, found.inputs, found.outputs, path)
        return DeviceGraph(session, contract, self._device)


class DeviceGraph:
    """A loaded session whose boundary was checked."""

    def __init__(self, session: Any, contract: GraphContract, device: str) -> None:
        self._session, self._device = session, device
        self.contract = contract

    def bind(self, sizes: Mapping[str, int], state: State | None = None) -> DeviceBound:
        assert state is None or isinstance(state, DeviceState)
        return DeviceBound(self._session, self.contract, sizes, state, self._device)

    def new_state(self, capacity: int) -> DeviceState:
        return DeviceState(self.contract, capacity, self._device)

    def limit(self, symbol: str) -> int | None:
        return None


class DeviceState:
    """KV caches on the device; ONNX Runtime copies parts of a tensor through the host only,
    which a cache is when it grows or is copied, and at no other time."""

    def __init__(self, contract: GraphContract, capacity: int, device: str) -> None:
        self._contract, self._device = contract, device
        self._allocate(capacity, {}, 0)

    def grow(self, capacity: int, filled: int) -> None:
        self._allocate(capacity, self.values, filled)

    def copy(self, filled: int) -> DeviceState:
        twin = DeviceState.__new__(DeviceState)
        twin._contract, twin._device = self._contract, self._device
        twin._allocate(self.capacity, self.values, filled)
        return twin

    def _allocate(self, capacity: int, known: Mapping[str, Any], filled: int) -> None:
        """One cache after another: the host never holds two."""
        self.capacity = capacity
        self.values: dict[str, Any] = {}
        for pair in self._contract.state:
            spec = self._contract.input(pair.input)
            # Zeros, never garbage: a masked key still multiplies its value by zero.
            rows = np.zeros(spec.shape({"capacity": capacity}), NUMPY_DTYPES[spec.dtype])
            if filled:
                rows[:, :, :filled] = known[pair.input].numpy()[:, :, :filled]
            self.values[pair.input] = _on(self._device, rows)


class DeviceBound:
    """Buffers on the device, bound once."""

    def __init__(
        self,
        session: Any,
        contract: GraphContract,
        sizes: Mapping[str, int],
        state: DeviceState | None,
        device: str,
    ) -> None:
        self._session, self._name = session, contract.name
        self._binding = session.io_binding()
        require_state(contract, sizes, state)
        carried = {pair.input for pair in contract.state}
        produced = {pair.output for pair in contract.state}
        arrays: dict[str, Array] = {}
        self._sent: dict[str, Any] = {}
        for spec in contract.inputs:
            if spec.name not in carried:
                array = np.zeros(spec.shape(sizes), NUMPY_DTYPES[spec.dtype])
                arrays[spec.name] = array
                self._sent[spec.name] = value = _on(device, array)
                self._binding.bind_ortvalue_input(spec.name, value)
        brought: dict[str, Any] = {}
        for spec in contract.outputs:
            if spec.name not in produced:
                array = np.zeros(spec.shape(sizes), NUMPY_DTYPES[spec.dtype])
                brought[spec.name] = value = _on(device, array)
                self._binding.bind_ortvalue_output(spec.name, value)
        if state is not None:
            for pair in contract.state:
                self._binding.bind_ortvalue_input(pair.input, state.values[pair.input])
                self._binding.bind_ortvalue_output(pair.output, state.values[pair.input])
        self.inputs = _Sent(arrays)
        self.outputs = _Brought(brought)

    def run(self) -> None:
        arrays = self.inputs.arrays
        for name in self.inputs.touched:
            self._sent[name].update_inplace(arrays[name])
        self.inputs.touched.clear()
        self.outputs.here.clear()
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # onnxruntime's own classes share no narrower base
            raise run_failed(self._name, error) from error


class _Sent(OnDemand):
    """Host arrays; those taken since the last run are `touched`. On the device all are zero at
    first, too."""

    def __init__(self, arrays: dict[str, Array]) -> None:
        super().__init__(arrays)
        self.arrays = arrays
        self.touched: set[str] = set()

    def __getitem__(self, name: str) -> Array:
        self.touched.add(name)
        return self.arrays[name]


class _Brought(OnDemand):
    """Values of the device; `here` are those brought since the last run."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self._values = values
        self.here: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        if name not in self.here:
            self.here[name] = self._values[name].numpy()
        return self.here[name]


def _preload() -> None:
    """CUDA and cuDNN that pip installed lie beside onnxruntime, where no linker looks."""
    preload = getattr(onnxruntime, "preload_dlls", None)
    if preload is not None:
        with redirect_stdout(StringIO()):  # it prints what it does not find
            preload()


def _on(device: str, array: Array) -> Any:
    """A copy of an array in memory of its own on a device."""
    value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype, device, 0)
    value.update_inplace(array)
    return value
