"""The GPU: every CUDA call that the backend makes, each checked.

The first visible GPU is used, which CUDA gives every thread by default; CUDA_VISIBLE_DEVICES puts
another GPU first.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np

from omnijet.runtime.backends.trt.library import load_cuda
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.machine import ways
from omnijet.runtime.machine.platform import this_platform
from omnijet.runtime.shortage import OutOfMemory

ORDINAL = 0


@dataclass(frozen=True, slots=True)
class DeviceProperties:
    """The properties that decide how a device is used.

    Attributes:
        compute_capability: ten times the number that NVIDIA writes: 87 for SM 8.7.
        integrated: whether the GPU shares its memory with the CPU, as on a Jetson.
    """

    name: str
    compute_capability: int
    integrated: bool


class Device:
    """The GPU, which makes memory, streams and captured work.

    Everything made here is freed with its last reference.

    Args:
        cuda: the Python module of the CUDA runtime.
    """

    def __init__(self, cuda: Any) -> None:
        self.cuda = cuda
        kinds = cuda.cudaMemcpyKind
        self._to_device = kinds.cudaMemcpyHostToDevice
        self._to_host = kinds.cudaMemcpyDeviceToHost
        self._on_device = kinds.cudaMemcpyDeviceToDevice
        self.properties = self._read()

    @staticmethod
    def open() -> Device:
        """Opens the GPU. Raises `OmnijetError` if there is no CUDA runtime, driver or GPU."""
        return Device(load_cuda())

    def _read(self) -> DeviceProperties:
        cuda = self.cuda
        error, *values = cuda.cudaGetDeviceCount()
        count = values[0] if values and not error else 0
        if not count:
            raise OmnijetError(
                "there is no GPU to run engines on",
                expected="an NVIDIA GPU and a driver that knows this CUDA runtime",
                got=self._name_of(error) if error else "no device",
                fix=f"install or update the driver; {ways.cuda_python(this_platform())}",
            )
        attributes = cuda.cudaDeviceAttr

        def read(attribute: Any) -> int:
            return int(self.call("cudaDeviceGetAttribute", attribute, ORDINAL))

        major = read(attributes.cudaDevAttrComputeCapabilityMajor)
        minor = read(attributes.cudaDevAttrComputeCapabilityMinor)
        name = self.call("cudaGetDeviceProperties", ORDINAL).name
        return DeviceProperties(
            bytes(name).split(b"\0")[0].decode("utf-8", "replace"),
            10 * major + minor,
            bool(read(attributes.cudaDevAttrIntegrated)),
        )

    def call(self, name: str, *args: Any) -> Any:
        """Makes one CUDA call, and returns what the call returns besides its error code.

        Raises:
            OmnijetError: the call fails; with CUDA's own name of the error.
        """
        error, *values = getattr(self.cuda, name)(*args)
        if error:
            raise self._failed(name, error)
        return values[0] if len(values) == 1 else tuple(values)

    def _failed(self, name: str, error: Any) -> OmnijetError:
        text = self._name_of(error)
        if text == "cudaErrorMemoryAllocation":
            return OutOfMemory(
                "the GPU's memory ran out", where=name, got=text,
                fix="close what else uses the GPU; use smaller pictures, shorter clips, or engines "
                "built with smaller limits (`omnijet build --limit`)",
            )  # fmt: skip
        return OmnijetError(f"{name} failed", got=text)

    def _name_of(self, error: Any) -> str:
        _, name = self.cuda.cudaGetErrorName(error)
        return bytes(name).decode()

    # -- memory ---------------------------------------------------------------------

    def memory(self, size: int) -> DeviceMemory:
        """Allocates bytes on the device; their contents are unknown."""
        return DeviceMemory(self, size)

    def host_memory(self, size: int) -> HostMemory:
        """Allocates zeroed bytes of the host that the device can copy from, or read in place."""
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

    Where the device has memory of its own, copies to and from page-locked memory need no bounce
    buffer. On an integrated GPU the memory is mapped: the device reads and writes it in place, and
    nothing is copied. NVIDIA recommends pinned memory there for small buffers, and for large ones
    that the GPU touches once; on Orin and later the CPU caches it and the GPU does not, so KV
    caches and weights stay in device memory. Source: CUDA for Tegra, "Memory Selection".

    Attributes:
        address: the CPU's address.
        device_address: the GPU's address; None where the memory is copied.
    """

    def __init__(self, device: Device, size: int) -> None:
        mapped = device.properties.integrated
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
        """Returns all of the memory, u8[size]; arrays over it keep `user` alive, not this
        object.
        """
        found: Array = np.asarray(_Lent(self.address, self.bytes.size, user))
        return found


class _Lent:
    """Memory that numpy reads through `__array_interface__`: every array over it keeps this object
    alive, and so the user.
    """

    def __init__(self, address: int, size: int, user: object) -> None:
        self.user = user
        self.__array_interface__ = {
            "shape": (size,), "typestr": "|u1", "data": (address, False), "version": 3,
        }  # fmt: skip


class Stream:
    """A CUDA stream: the device does its work in order.

    Attributes:
        handle: CUDA's handle.
        number: the handle as the number that TensorRT takes.
    """

    def __init__(self, device: Device) -> None:
        self._device, self._cuda = device, device.cuda
        flags = device.cuda.cudaStreamNonBlocking
        self.handle = device.call("cudaStreamCreateWithFlags", flags)
        self.number = int(self.handle)
        weakref.finalize(self, device.cuda.cudaStreamDestroy, self.handle).atexit = False

    def send(self, target: int, host: int, size: int) -> None:
        """Copies host memory to the device."""
        kind = self._device._to_device
        error = self._cuda.cudaMemcpyAsync(target, host, size, kind, self.handle)[0]
        if error:
            raise self._device._failed("cudaMemcpyAsync", error)

    def bring(self, host: int, source: int, size: int) -> None:
        """Copies device memory to the host, which has it after `wait`."""
        kind = self._device._to_host
        error = self._cuda.cudaMemcpyAsync(host, source, size, kind, self.handle)[0]
        if error:
            raise self._device._failed("cudaMemcpyAsync", error)

    def zero(self, memory: DeviceMemory) -> None:
        self._device.call("cudaMemsetAsync", memory.address, 0, memory.size, self.handle)

    def copy_rows(
        self, target: int, target_pitch: int, source: int, pitch: int, width: int, count: int
    ) -> None:
        """Copies the first `width` bytes of each of `count` rows that lie `pitch` bytes apart,
        within the device.
        """
        kind = self._device._on_device
        self._device.call(
            "cudaMemcpy2DAsync", target, target_pitch, source, pitch, width, count, kind,
            self.handle,
        )  # fmt: skip

    def wait(self) -> None:
        """Waits until all work is done. An error on the device is raised here."""
        error = self._cuda.cudaStreamSynchronize(self.handle)[0]
        if error:
            raise self._device._failed("cudaStreamSynchronize", error)

    def begin_capture(self) -> None:
        """Begins a capture: from here on work is recorded, not done.

        The mode is relaxed: memory that Python frees meanwhile, in this thread or another, must
        not spoil the capture.
        """
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeRelaxed
        self._device.call("cudaStreamBeginCapture", self.handle, mode)

    def end_capture(self) -> Captured:
        """Returns what was recorded. Raises `OmnijetError` if a part of it cannot be captured."""
        graph = self._device.call("cudaStreamEndCapture", self.handle)
        try:
            return Captured(self._device, self, graph)
        finally:
            self._cuda.cudaGraphDestroy(graph)

    def drop_capture(self) -> None:
        """Ends a capture that failed, so that the stream does work again."""
        _, *graph = self._cuda.cudaStreamEndCapture(self.handle)
        if graph and graph[0] is not None and int(graph[0]):
            self._cuda.cudaGraphDestroy(graph[0])


class Captured:
    """A captured CUDA graph, launched as one piece of work."""

    def __init__(self, device: Device, stream: Stream, graph: Any) -> None:
        self._device, self._cuda, self._stream = device, device.cuda, stream
        self._handle = device.call("cudaGraphInstantiate", graph, 0)
        weakref.finalize(self, device.cuda.cudaGraphExecDestroy, self._handle).atexit = False

    def launch(self) -> None:
        error = self._cuda.cudaGraphLaunch(self._handle, self._stream.handle)[0]
        if error:
            raise self._device._failed("cudaGraphLaunch", error)
