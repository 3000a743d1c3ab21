"""A GPU in host memory: a double of the CUDA runtime that records calls, does the work, and
faults.

Memory has addresses of its own and is full of NaN until it is written; work on a stream is done
when the stream is waited for, so that a read that comes too early finds what was there before.
Using memory that was freed, or beyond its end, is a fault. Names and parameters are those of
`cuda.bindings.runtime`, compared with the real ones by test_signatures.py.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np

from omnijet.runtime.bundle.contract import Array

Span = tuple[int, int]
"""Address and bytes of memory."""
POISON = 0xFF  # NaN as f16 and f32, no bool, a wrong index
DEVICE_BASE, ALIAS_BASE, GUARD = 0x7000_0000_0000, 0x6000_0000_0000, 4096


class Fault(AssertionError):
    """A misuse that a real GPU would answer with a crash, or with garbage."""


class cudaError_t(IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorStreamCaptureUnsupported = 900


class cudaMemcpyKind(IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2
    cudaMemcpyDeviceToDevice = 3


class cudaStreamCaptureMode(IntEnum):
    cudaStreamCaptureModeRelaxed = 2


class cudaDeviceAttr(IntEnum):
    cudaDevAttrIntegrated = 18
    cudaDevAttrComputeCapabilityMajor = 75
    cudaDevAttrComputeCapabilityMinor = 76


CONSTANTS = {"cudaHostAllocDefault": 0, "cudaHostAllocMapped": 2, "cudaStreamNonBlocking": 1}
OK = cudaError_t.cudaSuccess


@dataclass
class Memory:
    """One allocation."""

    start: int
    bytes: Array
    where: str  # device, host, alias


@dataclass
class Handle:
    """A stream, a graph or a graph ready to launch."""

    number: int
    work: list[Callable[[], None]] = field(default_factory=list)
    captured: list[Callable[[], None]] | None = None

    def __int__(self) -> int:
        return self.number


@dataclass
class Gpu:
    """The device, and a record of what was done with it.

    Attributes:
        budget: bytes that can be allocated.
        copies: (kind, bytes) of each copy.
        calls: how often each CUDA function was called.
    """

    capability: int = 87
    integrated: bool = False
    count: int = 1
    budget: int = 1 << 34
    copies: list[tuple[str, int]] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)
    streams: dict[int, Handle] = field(default_factory=dict)
    _memory: dict[int, Memory] = field(default_factory=dict)
    _starts: list[int] = field(default_factory=list)
    _next: int = DEVICE_BASE
    _next_alias: int = ALIAS_BASE
    _number: int = 1
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _graveyard: list[Array] = field(default_factory=list)

    @property
    def used(self) -> int:
        """Bytes of the device that are allocated."""
        return sum(one.bytes.size for one in self._memory.values() if one.where == "device")

    @property
    def pinned(self) -> int:
        return sum(one.bytes.size for one in self._memory.values() if one.where == "host")

    def add(self, memory: Memory) -> None:
        with self._lock:
            self._memory[memory.start] = memory
            self._starts = sorted(self._memory)

    def remove(self, start: int, where: str) -> None:
        with self._lock:
            memory = self._memory.pop(start, None)
            if memory is None or memory.where != where:
                raise Fault(f"{start:#x} is no {where} memory to free")
            self._starts = sorted(self._memory)
            memory.bytes[:] = POISON
            self._graveyard.append(memory.bytes)  # arrays over it must not crash the tests
            for alias in [one for one in self._memory.values() if one.bytes is memory.bytes]:
                self.remove(alias.start, "alias")

    def view(self, address: int, size: int, *places: str) -> Array:
        """Returns bytes at an address. A fault if they are not within one allocation in one of the
        places.
        """
        with self._lock:
            at = bisect_right(self._starts, address) - 1
            memory = self._memory[self._starts[at]] if at >= 0 else None
        if memory is None or not memory.start <= address < memory.start + memory.bytes.size:
            raise Fault(f"{address:#x} is not allocated")
        if memory.where not in places:
            raise Fault(f"{address:#x} is {memory.where} memory, not {' or '.join(places)}")
        offset = address - memory.start
        if offset + size > memory.bytes.size:
            raise Fault(f"{size} bytes at {address:#x} reach beyond their allocation")
        found: Array = memory.bytes[offset : offset + size]
        return found

    def put(self, stream: Any, work: Callable[[], None], memory: Sequence[Span] = ()) -> None:
        """Puts work on a stream, or into what the stream captures.

        `memory` is what the work uses when it is done, which may change until then.
        """
        handle = self.streams[int(stream)]
        (handle.work if handle.captured is None else handle.captured).append(work)

    def device_address(self, size: int) -> int:
        start = self._next
        self._next += -(-size // 512) * 512 + GUARD
        return start

    def alias_address(self, size: int) -> int:
        start = self._next_alias
        self._next_alias += -(-size // 512) * 512 + GUARD
        return start

    def number(self) -> int:
        self._number += 1
        return self._number


class Cuda:
    """The module `cuda.bindings.runtime`."""

    cudaError_t, cudaMemcpyKind = cudaError_t, cudaMemcpyKind
    cudaStreamCaptureMode, cudaDeviceAttr = cudaStreamCaptureMode, cudaDeviceAttr

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        for name, value in CONSTANTS.items():
            setattr(self, name, value)

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("cuda") and name[4:5].isupper():
            calls = object.__getattribute__(self, "_gpu").calls
            calls[name] = calls.get(name, 0) + 1
        return object.__getattribute__(self, name)

    def cudaGetDeviceCount(self) -> Any:
        if not self._gpu.count:
            return cudaError_t.cudaErrorInsufficientDriver, None
        return OK, self._gpu.count

    def cudaGetErrorName(self, error: Any) -> Any:
        return OK, cudaError_t(error).name.encode()

    def cudaGetDeviceProperties(self, device: int) -> Any:
        return OK, SimpleNamespace(name=b"A double")

    def cudaDeviceGetAttribute(self, attr: Any, device: int) -> Any:
        assert device == 0
        kinds = cudaDeviceAttr
        values = {
            kinds.cudaDevAttrIntegrated: int(self._gpu.integrated),
            kinds.cudaDevAttrComputeCapabilityMajor: self._gpu.capability // 10,
            kinds.cudaDevAttrComputeCapabilityMinor: self._gpu.capability % 10,
        }
        return OK, values[attr]

    def cudaMemGetInfo(self) -> Any:
        return OK, self._gpu.budget - self._gpu.used, self._gpu.budget

    def cudaMalloc(self, size: int) -> Any:
        if self._gpu.used + size > self._gpu.budget:
            return cudaError_t.cudaErrorMemoryAllocation, None
        start = self._gpu.device_address(size)
        self._gpu.add(Memory(start, np.full(size, POISON, np.uint8), "device"))
        return OK, start

    def cudaFree(self, devPtr: int) -> Any:
        self._gpu.remove(devPtr, "device")
        return (OK,)

    def cudaHostAlloc(self, size: int, flags: int) -> Any:
        assert flags == (2 if self._gpu.integrated else 0)
        room = np.full(size + 4096, POISON, np.uint8)  # page-aligned, as the real one
        found = room[-room.ctypes.data % 4096 :][:size]
        self._gpu.add(Memory(found.ctypes.data, found, "host"))
        return OK, found.ctypes.data

    def cudaFreeHost(self, ptr: int) -> Any:
        self._gpu.remove(ptr, "host")
        return (OK,)

    def cudaHostGetDevicePointer(self, pHost: int, flags: int) -> Any:
        assert self._gpu.integrated and flags == 0
        memory = self._gpu._memory[pHost]
        start = self._gpu.alias_address(memory.bytes.size)
        self._gpu.add(Memory(start, memory.bytes, "alias"))
        return OK, start

    def cudaStreamCreateWithFlags(self, flags: int) -> Any:
        handle = Handle(self._gpu.number())
        self._gpu.streams[handle.number] = handle
        return OK, handle

    def cudaStreamDestroy(self, stream: Any) -> Any:
        del self._gpu.streams[int(stream)]
        return (OK,)

    def cudaStreamSynchronize(self, stream: Any) -> Any:
        handle = self._gpu.streams[int(stream)]
        if handle.captured is not None:
            return (cudaError_t.cudaErrorStreamCaptureUnsupported,)
        work, handle.work = handle.work, []
        for one in work:
            one()
        return (OK,)

    def cudaMemcpyAsync(self, dst: int, src: int, count: int, kind: Any, stream: Any) -> Any:
        places = {
            cudaMemcpyKind.cudaMemcpyHostToDevice: ("device", "host"),
            cudaMemcpyKind.cudaMemcpyDeviceToHost: ("host", "device"),
            cudaMemcpyKind.cudaMemcpyDeviceToDevice: ("device", "device"),
        }
        to, found = places[kind]
        view = self._gpu.view
        view(dst, count, to), view(src, count, found)
        self._gpu.copies.append((f"{found} to {to}", count))

        def copy() -> None:
            view(dst, count, to)[:] = view(src, count, found)

        self._gpu.put(stream, copy)
        return (OK,)

    def cudaMemsetAsync(self, devPtr: int, value: int, count: int, stream: Any) -> Any:
        def fill() -> None:
            self._gpu.view(devPtr, count, "device")[:] = value

        self._gpu.put(stream, fill)
        return (OK,)

    def cudaMemcpy2DAsync(
        self, dst: int, dpitch: int, src: int, spitch: int, width: int, height: int, kind: Any,
        stream: Any,
    ) -> Any:  # fmt: skip
        assert kind == cudaMemcpyKind.cudaMemcpyDeviceToDevice
        assert width <= min(dpitch, spitch)
        view = self._gpu.view

        def copy() -> None:
            for row in range(height):
                found = view(src + row * spitch, width, "device")
                view(dst + row * dpitch, width, "device")[:] = found

        self._gpu.put(stream, copy)
        return (OK,)

    def cudaStreamBeginCapture(self, stream: Any, mode: Any) -> Any:
        handle = self._gpu.streams[int(stream)]
        assert handle.captured is None and mode in cudaStreamCaptureMode
        handle.captured = []
        return (OK,)

    def cudaStreamEndCapture(self, stream: Any) -> Any:
        handle = self._gpu.streams[int(stream)]
        if handle.captured is None:
            return cudaError_t.cudaErrorStreamCaptureUnsupported, None
        graph = Handle(self._gpu.number(), handle.captured)
        handle.captured = None
        return OK, graph

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> Any:
        return OK, Handle(self._gpu.number(), list(graph.work))

    def cudaGraphDestroy(self, graph: Any) -> Any:
        graph.work.clear()
        return (OK,)

    def cudaGraphLaunch(self, graphExec: Any, stream: Any) -> Any:
        for one in graphExec.work:
            self._gpu.put(stream, one)
        return (OK,)

    def cudaGraphExecDestroy(self, graphExec: Any) -> Any:
        graphExec.work.clear()
        return (OK,)
