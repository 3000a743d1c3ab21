"""A double of TensorRT, whose engines run their ONNX graph on the bytes at the bound addresses.

Names and parameters are those of `tensorrt_rtx_bindings`, compared with the real ones by
test_signatures.py. An engine is a JSON text, see engines.py.
"""

from __future__ import annotations

import json
import weakref
from enum import IntEnum
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from omnijet.engines.widened_backend import WidenedBackend
from omnijet.runtime.bundle.contract import NUMPY_DTYPES, Array, split_axis
from tests.runtime.backends.trt.bridge import Bridge
from tests.runtime.backends.trt.gpu import Fault, Gpu


class TensorIOMode(IntEnum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class DataType(IntEnum):
    FLOAT = 0
    HALF = 1
    BOOL = 4
    BF16 = 7
    INT64 = 8


OURS = {"FLOAT": "f32", "HALF": "f16", "BF16": "bf16", "INT64": "i64", "BOOL": "bool"}


class ExecutionContextAllocationStrategy(IntEnum):
    STATIC = 0
    ON_PROFILE_CHANGE = 1
    USER_MANAGED = 2


class CudaGraphStrategy(IntEnum):
    DISABLED = 0
    WHOLE_GRAPH_CAPTURE = 1


class Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class ILogger:
    Severity = Severity

    def __init__(self) -> None:
        pass

    def log(self, severity: Severity, msg: str) -> None:
        raise Fault("the library called the base class of its logger")


class Library:
    """The module `tensorrt` or `tensorrt_rtx`.

    Attributes:
        contexts: every context that was made.
        capturable: False lets nothing be captured.
    """

    ILogger = ILogger
    ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy
    CudaGraphStrategy = CudaGraphStrategy

    def __init__(self, gpu: Gpu | Bridge, name: str = "tensorrt", version: str = "10.16.2") -> None:
        self.gpu, self.__name__, self.__version__ = gpu, name, version
        self.contexts: list[IExecutionContext] = []
        self.capturable = True
        self._logger: weakref.ref[ILogger] | None = None

    def Runtime(self, logger: ILogger) -> Runtime:
        self._logger = self._logger or weakref.ref(logger)
        return Runtime(self)

    def say(self, text: str) -> None:
        """Reports an error to the first logger that was given, which nothing here keeps alive."""
        logger = self._logger and self._logger()
        if logger is None:
            raise Fault("the logger that the library points to is gone")
        logger.log(Severity.ERROR, text)


class Runtime:
    def __init__(self, library: Library) -> None:
        self._library = library

    def deserialize_cuda_engine(self, serialized_engine: Any) -> ICudaEngine | None:
        try:
            content = json.loads(bytes(serialized_engine))
        except ValueError:
            self._library.say("magic tag does not match")
            return None
        return ICudaEngine(content, self._library)


class ICudaEngine:
    def __init__(self, content: dict[str, Any], library: Library) -> None:
        self.content, self.library = content, library
        self.num_io_tensors = len(content["tensors"])
        self.num_optimization_profiles = len(content["profiles"])
        self.device_memory_size_v2 = content["scratch"]
        self.tensors = {tensor["name"]: tensor for tensor in content["tensors"]}

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType[self.tensors[name]["dtype"]]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.tensors[name]["shape"])

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode[self.tensors[name]["mode"]]

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return [tuple(shape) for shape in self.content["profiles"][profile_index][name]]

    def create_execution_context(self, strategy: Any) -> IExecutionContext:
        graphs = CudaGraphStrategy.DISABLED
        if isinstance(strategy, IRuntimeConfig):
            graphs, strategy = strategy.cuda_graph_strategy, strategy.strategy
        context = IExecutionContext(self, strategy, graphs)
        self.library.contexts.append(context)
        return context

    def create_runtime_config(self) -> IRuntimeConfig:
        return IRuntimeConfig()


class IRuntimeConfig:
    def __init__(self) -> None:
        self.cuda_graph_strategy = CudaGraphStrategy.DISABLED
        self.strategy = ExecutionContextAllocationStrategy.STATIC

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self.strategy = strategy

    def create_runtime_cache(self) -> IRuntimeCache:
        return IRuntimeCache()

    def set_runtime_cache(self, cache: IRuntimeCache) -> bool:
        assert isinstance(cache, IRuntimeCache)
        return True


class IRuntimeCache:
    kernels = b"kernels of a double"

    def __init__(self) -> None:
        self.known = b""

    def serialize(self) -> bytes:
        return self.kernels

    def deserialize(self, blob: bytes) -> bool:
        fits = blob == self.kernels
        self.known = blob if fits else b""
        return fits


class IExecutionContext:
    """A context.

    Attributes:
        runs: how many runs were put on a stream; a captured run counts once.
    """

    def __init__(self, engine: ICudaEngine, strategy: Any, graphs: CudaGraphStrategy) -> None:
        self._engine, self._gpu, self.graphs = engine, engine.library.gpu, graphs
        self._needs_scratch = strategy == ExecutionContextAllocationStrategy.USER_MANAGED
        self._scratch = (0, 0)
        self._profile = 0
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._is_captured = False
        self.runs = 0

    def _change(self) -> None:
        if self._is_captured:
            raise Fault("a captured context was changed: its graph is worth nothing now")

    def set_device_memory(self, memory: int, size: int) -> None:
        self._change()
        self._scratch = (memory, size)

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self._change()
        assert stream_handle in self._gpu.streams
        self._profile = profile_index
        return profile_index < self._engine.num_optimization_profiles

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._change()
        least, _, most = self._engine.get_tensor_profile_shape(name, self._profile)
        if not all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True)):
            return False
        self._shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._change()
        if memory % 256 or name not in self._engine.tensors:
            return False
        self._addresses[name] = memory
        return True

    def infer_shapes(self) -> list[str]:
        inputs = [n for n, t in self._engine.tensors.items() if t["mode"] == "INPUT"]
        return [name for name in inputs if name not in self._shapes]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self._shapes:
            return self._shapes[name]
        sizes: dict[str, int] = {}
        for other, shape in self._shapes.items():
            for axis, size in zip(self._engine.tensors[other]["axes"], shape, strict=True):
                if isinstance(axis, str):
                    factor, symbol = split_axis(axis)
                    if sizes.setdefault(symbol, size // factor) != size / factor:
                        raise Fault(f"{other}: {symbol} is {sizes[symbol]} elsewhere")
        axes = self._engine.tensors[name]["axes"]
        split = [(1, axis) if isinstance(axis, int) else split_axis(axis) for axis in axes]
        return tuple(f * (a if isinstance(a, int) else sizes[a]) for f, a in split)

    def execute_async_v3(self, stream_handle: int) -> bool:
        gpu = self._gpu
        if gpu.streams[stream_handle].captured is not None:
            if not self._engine.library.capturable:
                return False
            if not self.runs:
                raise Fault("captured before a plain run")
            self._is_captured = True
        if self._needs_scratch and self._scratch[1] < self._engine.device_memory_size_v2:
            raise Fault("too little scratch memory")
        if missing := set(self._engine.tensors) - set(self._addresses):
            raise Fault(f"no address for {sorted(missing)}")
        self.runs += 1
        addresses = dict(self._addresses)
        shapes = {name: self.get_tensor_shape(name) for name in self._engine.tensors}
        for read, written in self._engine.content["state"]:
            if (addresses[read] == addresses[written]) != self._engine.content["in_place"]:
                raise Fault(f"{read} and {written}: the engine wants them at one address or two")
        self._gpu.put(
            stream_handle,
            lambda: self._work(addresses, shapes),
            [self._scratch, *((addresses[name], self._bytes(name, shapes)) for name in addresses)],
        )
        return True

    def _bytes(self, name: str, shapes: dict[str, tuple[int, ...]]) -> int:
        dtype = NUMPY_DTYPES[OURS[self._engine.tensors[name]["dtype"]]]
        return prod(shapes[name]) * dtype.itemsize

    def _work(self, addresses: dict[str, int], shapes: dict[str, tuple[int, ...]]) -> None:
        if self._scratch[1]:
            self._gpu.view(*self._scratch, "device")[:] = 0xEE
        arrays = {}
        for name, tensor in self._engine.tensors.items():
            dtype = NUMPY_DTYPES[OURS[tensor["dtype"]]]
            size = self._bytes(name, shapes)
            view = self._gpu.view(addresses[name], size, "device", "alias")
            arrays[name] = view.view(dtype).reshape(shapes[name])
        tensors = self._engine.tensors
        narrow = {name for name, tensor in tensors.items() if tensor["dtype"] == "BF16"}
        feeds = {
            name: _widened(arrays[name]) if name in narrow else arrays[name]
            for name, tensor in tensors.items() if tensor["mode"] == "INPUT"
        }  # fmt: skip
        for name, array in feeds.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise Fault(f"{name} was never written, or only in part")
        outputs = [name for name, tensor in tensors.items() if tensor["mode"] == "OUTPUT"]
        made = _session(self._engine.content["onnx"]).run(outputs, feeds)
        for name, array in zip(outputs, made, strict=True):
            arrays[name][...] = _narrowed(array) if name in narrow else array


def _widened(bits: Array) -> Array:
    """Returns bf16 bits as the f32 of the same value."""
    found: Array = (bits.astype(np.uint32) << 16).view(np.float32)
    return found


def _narrowed(values: Array) -> Array:
    """Returns the bf16 bits of f32 values; the values of a widened graph fit bf16."""
    return (values.view(np.uint32) >> 16).astype(np.uint16)


@cache
def _session(path: str) -> Any:
    return WidenedBackend(1).session(Path(path), Path(path).stem)
