"""The GPU: every CUDA call that the backend makes, each checked.

The first GPU that is visible is used, which is every thread's own choice unless it makes
another; CUDA_VISIBLE_DEVICES shows another one first.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np

from omnijet.runtime.backends.trt.library import load_cuda
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.errors import OmnijetError

ORDINAL = 0


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What decides how a device is used.

    Attributes:
        compute_capability: `sm` times ten.
        integrated: the GPU shares its memory with the CPU, as on a Jetson.
    """

    name: str
    compute_capability: int
    integrated: bool


class Device:
    """The GPU, and the memory, streams and captured work that are made on it.

    Everything made here is given back when it is no longer referred to.

    Args:
        cuda: the CUDA runtime's module.
    """

    def __init__(self, cuda: Any) -> None:
        self.cuda = cuda
        kinds = cuda.cudaMemcpyKind
        self._to_device = kinds.cudaMemcpyHostToDevice
        self._to_host = kinds.cudaMemcpyDeviceToHost
        self._on_device = kinds.cudaMemcpyDeviceToDevice
        self.facts = self._read()

    @staticmethod
    def open() -> Device:
        """Raises `OmnijetError` if there is no CUDA runtime, driver or GPU."""
        return Device(load_cuda())

    def _read(self) -> DeviceFacts:
        cuda = self.cuda
        error, *values = cuda.cudaGetDeviceCount()
        count = values[0] if values and not error else 0
        if not count:
            raise OmnijetError(
                "there is no GPU to run engines on",
                expected="an NVIDIA GPU and a driver that knows this CUDA runtime",
                got=self._name_of(error) if error else "no device",
                fix="install or update the driver; if it knows CUDA 12 only (JetPack 6), "
                '`pip install "cuda-python<13"`',
            )
        attributes = cuda.cudaDeviceAttr

        def of(attribute: Any) -> int:
            return int(self.call("cudaDeviceGetAttribute", attribute, ORDINAL))

        major = of(attributes.cudaDevAttrComputeCapabilityMajor)
        minor = of(attributes.cudaDevAttrComputeCapabilityMinor)
        name = self.call("cudaGetDeviceProperties", ORDINAL).name
        return DeviceFacts(
            bytes(name).split(b"\0")[0].decode("utf-8", "replace"),
            10 * major + minor,
            bool(of(attributes.cudaDevAttrIntegrated)),
        )

    def call(self, name: str, *args: Any) -> Any:
        """One CUDA call; what it returns besides its error code.

        Raises:
            OmnijetError: CUDA's own name of the error.
        """
        error, *values = getattr(self.cuda, name)(*args)
        if error:
            raise self._failed(name, error)
        return values[0] if len(values) == 1 else tuple(values)

    def _failed(self, name: str, error: Any) -> OmnijetError:
        fixes = {
            "cudaErrorMemoryAllocation": "close what else uses the GPU; use smaller pictures, "
            "shorter clips, or engines built with smaller limits",
        }
        text = self._name_of(error)
        return OmnijetError(f"{name} failed", got=text, fix=fixes.get(text))

    def _name_of(self, error: Any) -> str:
        _, name = self.cuda.cudaGetErrorName(error)
        return bytes(name).decode()

    # -- memory ---------------------------------------------------------------------

    def memory(self, size: int) -> DeviceMemory:
        """Bytes on the device, their contents unknown."""
        return DeviceMemory(self, size)

    def host_memory(self, size: int) -> HostMemory:
        """Zeroed bytes of the host that the device can copy from, or read, without help."""
        return HostMemory(self, size)

    # -- work -----------------------------------------------------------------------

    def stream(self) -> Stream:
        return Stream(self)


class DeviceMemory:
    """Device memory, freed with its last reference."""

    def __init__(self, device: Device, size: int) -> None:
        self.size = size
        self.address = int(device.call("cudaMalloc", max(size, 1)))
        # nothing is freed at exit: the driver does it, and may be gone by then
        weakref.finalize(self, device.cuda.cudaFree, self.address).atexit = False


class HostMemory:
    """Page-locked host memory, freed with its last reference.

    On a device of its own memory, copies from and to it need no bounce buffer. On an integrated
    GPU it is mapped: the device reads and writes it in place, and nothing is copied. NVIDIA
    recommends pinned memory there for small buffers, and for large ones that the GPU touches
    once; the CPU caches it on Orin and later, the GPU does not, so KV caches and weights stay
    in device memory. Source: CUDA for Tegra, "Memory Selection".

    Attributes:
        address: for the CPU.
        device_address: for the GPU; None where it is copied.
    """

    def __init__(self, device: Device, size: int) -> None:
        mapped = device.facts.integrated
        cuda, size = device.cuda, max(size, 1)
        flags = cuda.cudaHostAllocMapped if mapped else cuda.cudaHostAllocDefault
        self.address = int(device.call("cudaHostAlloc", size, flags))
        weakref.finalize(self, cuda.cudaFreeHost, self.address).atexit = False
        self.device_address: int | None = None
        if mapped:
            self.device_address = int(device.call("cudaHostGetDevicePointer", self.address, 0))
        self.bytes: Array = np.asarray(_Lent(self.address, size, None))
        self.bytes[:] = 0

    def lent(self, user: object) -> Array:
        """All of it, u8[size]; arrays over it hold on to `user`, not to this object."""
        found: Array = np.asarray(_Lent(self.address, self.bytes.size, user))
        return found


class _Lent:
    """Memory that numpy reads through `__array_interface__`: every array over it holds this
    object, and so the user."""

    def __init__(self, address: int, size: int, user: object) -> None:
        self.user = user
        self.__array_interface__ = {
            "shape": (size,), "typestr": "|u1", "data": (address, False), "version": 3,
        }  # fmt: skip


class Stream:
    """Work in order, on the device.

    Attributes:
        handle: CUDA's.
        number: the handle as TensorRT takes it.
    """

    def __init__(self, device: Device) -> None:
        self._device, self._cuda = device, device.cuda
        flags = device.cuda.cudaStreamNonBlocking
        self.handle = device.call("cudaStreamCreateWithFlags", flags)
        self.number = int(self.handle)
        weakref.finalize(self, device.cuda.cudaStreamDestroy, self.handle).atexit = False

    def send(self, to: int, host: int, size: int) -> None:
        """Copies host memory to the device."""
        kind = self._device._to_device
        error = self._cuda.cudaMemcpyAsync(to, host, size, kind, self.handle)[0]
        if error:
            raise self._device._failed("cudaMemcpyAsync", error)

    def bring(self, host: int, found: int, size: int) -> None:
        """Copies device memory to the host; it is there after `wait`."""
        kind = self._device._to_host
        error = self._cuda.cudaMemcpyAsync(host, found, size, kind, self.handle)[0]
        if error:
            raise self._device._failed("cudaMemcpyAsync", error)

    def zero(self, memory: DeviceMemory) -> None:
        self._device.call("cudaMemsetAsync", memory.address, 0, memory.size, self.handle)

    def copy_rows(self, to: int, found: int, pitch: int, width: int, count: int) -> None:
        """On the device: of `count` rows `pitch` bytes apart, the first `width` bytes of each."""
        kind = self._device._on_device
        self._device.call(
            "cudaMemcpy2DAsync", to, pitch, found, pitch, width, count, kind, self.handle
        )

    def wait(self) -> None:
        """Until all is done. What failed on the device is raised here."""
        error = self._cuda.cudaStreamSynchronize(self.handle)[0]
        if error:
            raise self._device._failed("cudaStreamSynchronize", error)

    def begin_capture(self) -> None:
        """From here on work is written down, not done.

        Relaxed: memory that Python gives back meanwhile, here or in another thread, must not
        spoil the capture.
        """
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeRelaxed
        self._device.call("cudaStreamBeginCapture", self.handle, mode)

    def end_capture(self) -> Captured:
        """What was written down. Raises `OmnijetError` if something of it cannot be captured."""
        graph = self._device.call("cudaStreamEndCapture", self.handle)
        try:
            return Captured(self._device, self, graph)
        finally:
            self._cuda.cudaGraphDestroy(graph)

    def drop_capture(self) -> None:
        """After a failure within: the stream does work again."""
        _, *graph = self._cuda.cudaStreamEndCapture(self.handle)
        if graph and graph[0] is not None and int(graph[0]):
            self._cuda.cudaGraphDestroy(graph[0])


class Captured:
    """Work that was captured, launched as one."""

    def __init__(self, device: Device, stream: Stream, graph: Any) -> None:
        self._device, self._cuda, self._stream = device, device.cuda, stream
        self._handle = device.call("cudaGraphInstantiate", graph, 0)
        weakref.finalize(self, device.cuda.cudaGraphExecDestroy, self._handle).atexit = False

    def launch(self) -> None:
        error = self._cuda.cudaGraphLaunch(self._handle, self._stream.handle)[0]
        if error:
            raise self._device._failed("cudaGraphLaunch", error)
