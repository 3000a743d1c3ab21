"""The real CUDA under the double of TensorRT: its engines run on the host, in stream order.

An engine brings its tensors to the host, runs its graph there and sends them back. On the stream
this is a sequence of copies and a host function, which a CUDA graph captures as it captures
kernels: so memory, copies, order, captures and launches are the GPU's own.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from omnijet.runtime.bundle.contract import Array
from tests.runtime.backends.trt.gpu import Span


class Bridge:
    """The real GPU, in the place of `Gpu` in the double of TensorRT.

    Attributes:
        runs_graphs: False makes an engine do next to nothing, so that the cost of everything else
            is left.
        faults: errors in host functions, which cannot raise them.
    """

    def __init__(self, cuda: Any) -> None:
        self.runs_graphs = True
        self.faults: list[BaseException] = []
        self.streams = _Streams(cuda)
        self._cuda = cuda
        self._here: dict[Span, Array] = {}
        self._works: list[Callable[[], None]] = []
        # cuda-python's own frees the call's data after the first call; a graph calls again
        self._launch = ctypes.CDLL("libcuda.so.1").cuLaunchHostFunc
        self._launch.argtypes = [ctypes.c_void_p] * 3
        self._enter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._work)

    def put(self, stream: int, work: Callable[[], None], memory: Sequence[Span] = ()) -> None:
        """Puts work on a stream, or into what the stream captures."""
        spans = [span for span in dict.fromkeys(memory) if span[1]]
        if not self.runs_graphs:
            self._check(self._cuda.cudaMemsetAsync(spans[0][0], 0, 1, stream))
            return
        self._works.append(work)
        for span in spans:
            self._copy(self._staging(span), span[0], span[1], stream)
        number = len(self._works)  # not 0, which would be None there
        if error := self._launch(stream, ctypes.cast(self._enter, ctypes.c_void_p), number):
            raise RuntimeError(f"cuLaunchHostFunc: {error}")
        for span in spans:
            self._copy(span[0], self._staging(span), span[1], stream)

    def view(self, address: int, size: int, *places: str) -> Array:
        """Returns the host copy, which was brought or will be sent."""
        return self._here[address, size]

    def _work(self, number: int) -> None:
        try:
            self._works[number - 1]()
        except BaseException as error:
            self.faults.append(error)

    def _staging(self, span: Span) -> int:
        """Returns the address of page-locked memory for a span, always the same."""
        if span not in self._here:
            size = span[1]
            address = int(self._check(self._cuda.cudaHostAlloc(size, 0)))
            block = (ctypes.c_uint8 * size).from_address(address)
            self._here[span] = np.frombuffer(block, np.uint8)
        return self._here[span].ctypes.data

    def _copy(self, target: int, source: int, size: int, stream: int) -> None:
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDefault
        self._check(self._cuda.cudaMemcpyAsync(target, source, size, kind, stream))

    @staticmethod
    def _check(result: Any) -> Any:
        error, *values = result
        if error:
            raise RuntimeError(str(error))
        return values[0] if values else None


class _Streams:
    """The streams, of which the double asks whether they are being captured."""

    def __init__(self, cuda: Any) -> None:
        self._cuda = cuda

    def __contains__(self, number: int) -> bool:
        return number != 0

    def __getitem__(self, number: int) -> SimpleNamespace:
        _, status = self._cuda.cudaStreamIsCapturing(number)
        active = self._cuda.cudaStreamCaptureStatus.cudaStreamCaptureStatusActive
        return SimpleNamespace(captured=True if status == active else None)
