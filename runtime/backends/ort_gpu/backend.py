"""ONNX Runtime with a provider of a GPU."""

from __future__ import annotations

import logging
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import onnxruntime

from omnijet.runtime.backends.ort_built import BuiltGraphs
from omnijet.runtime.backends.ort_cpu import OrtBackend, Providers, boundary
from omnijet.runtime.backends.ort_gpu.gate import GATE
from omnijet.runtime.backends.ort_gpu.graph import DeviceGraph
from omnijet.runtime.backends.ort_gpu.providers import PROVIDERS, REPLAYED
from omnijet.runtime.backends.ort_gpu.session import DeviceSession
from omnijet.runtime.backends.protocol import BackendRequest
from omnijet.runtime.bundle.contract import GraphContract, verify
from omnijet.runtime.bundle.watch import Watch
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.machine import ways
from omnijet.runtime.machine.platform import this_platform

_log = logging.getLogger(__name__)

BUILT_FOR = "cuda"
"""The provider whose name is that of a target of `omnijet build`, too. The others are compilers of
their own, and take the canonical graph.
"""


class OrtDeviceBackend(OrtBackend):
    """ONNX Runtime with a provider whose buffers lie on a device.

    Args:
        provider: a key of `PROVIDERS`.
        threads: as for `OrtBackend`, for what the provider leaves to the CPU.
        device: ONNX Runtime's name of the device whose memory buffers take.

    Raises:
        OmnijetError: this onnxruntime has no such provider; how to get one.
    """

    def __init__(
        self,
        provider: str,
        threads: int = 0,
        *,
        device: str = "cuda",
        built: BuiltGraphs | None = None,
    ) -> None:
        self.name = f"onnxruntime-{provider}"
        super().__init__(threads, built=built)
        self._name, self._provider = provider, PROVIDERS[provider]
        available = onnxruntime.get_available_providers()
        full_name = self._provider.full_name
        if full_name not in available:
            raise OmnijetError(
                f"this onnxruntime has no provider {provider}",
                expected=full_name,
                got=", ".join(available),
                fix=ways.onnxruntime_gpu(this_platform(), provider),
            )
        self._device = device
        others = [one for one in self._provider.others if one in available]
        self._providers = [(full_name, dict(self._provider.options))]
        self._providers += [(one, {}) for one in (*others, "CPUExecutionProvider")]

    @classmethod
    def for_request(cls, request: BackendRequest) -> OrtDeviceBackend:
        there = request.built and request.name == BUILT_FOR
        built = BuiltGraphs.of(request.bundle, BUILT_FOR) if there else None
        return cls(request.name, request.threads, built=built)

    def load(self, path: Path, contract: GraphContract) -> DeviceGraph:  # type: ignore[override]
        self._opened.require_open(contract.name)
        return self.best(path, contract, self._load)

    def _load(self, path: Path, contract: GraphContract) -> DeviceGraph:
        name = contract.name
        session, captures = self._started(path, name, name in REPLAYED)
        found = boundary(session)
        verify(contract, found.inputs, found.outputs, path)

        files = f"{path.stem}.onnx", f"{path.stem}.weights"
        watch = Watch(path.parent, files)

        def another() -> DeviceSession:
            with watch.reading(*files):
                made, captures = self._started(path, name, False)
            return self._opened.add(DeviceSession(made, captures, name), name)

        graph = DeviceGraph(
            self._opened.add(DeviceSession(session, captures, name), name), contract, self._device,
            another if name in self._provider.one_length else None,
        )  # fmt: skip
        return self._opened.add(graph, name)

    def _started(self, path: Path, name: str, captures: bool) -> tuple[Any, bool]:
        """Returns a session on the device, and whether it captures what it is asked to."""
        if captures and self._provider.capturing:
            first, options = self._providers[0]
            capturing = [(first, {**options, **self._provider.capturing}), *self._providers[1:]]
            try:
                return self._on_device(path, name, capturing), True
            except OmnijetError as error:  # a part of the graph may be left to the CPU
                _log.info("%s runs uncaptured: %s", name, error.got)
        return self._on_device(path, name, self._providers), False

    def _on_device(self, path: Path, name: str, providers: Providers) -> Any:
        full_name = self._provider.full_name
        with GATE.shared():
            session = self.session(path, name, providers=providers)
            if session.get_providers()[0] != full_name:  # it falls back without an error
                _preload()
                session = self.session(path, name, providers=providers)
        if session.get_providers()[0] != full_name:
            raise OmnijetError(
                f"{full_name} did not start",
                where=path,
                got="running on " + ", ".join(session.get_providers()),
                fix="look for what its libraries need: CUDA and cuDNN of the versions that this "
                "onnxruntime was built with, a GPU that it has code for, and its driver: "
                + ways.onnxruntime_gpu(this_platform(), self._name),
            )
        return session


def _preload() -> None:
    """Loads CUDA and cuDNN that pip installed beside onnxruntime, where no linker looks."""
    preload = getattr(onnxruntime, "preload_dlls", None)
    if preload is not None:
        with redirect_stdout(StringIO()):  # it prints what it does not find
            preload()
