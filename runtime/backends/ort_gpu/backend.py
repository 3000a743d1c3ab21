"""ONNX Runtime with a provider of a GPU."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import onnxruntime

from omnijet.runtime.backends.ort_cpu import OrtBackend, Providers, boundary
from omnijet.runtime.backends.ort_gpu.gate import GATE
from omnijet.runtime.backends.ort_gpu.graph import DeviceGraph
from omnijet.runtime.backends.ort_gpu.session import DeviceSession
from omnijet.runtime.bundle.contract import GraphContract, verify
from omnijet.runtime.errors import OmnijetError

_log = logging.getLogger(__name__)

Provider = Literal["cuda", "tensorrt", "nv_tensorrt_rtx"]

REPLAYED = frozenset({"thinker_step", "talker_step", "dit_step"})
"""Graphs whose runs return with the same sizes again and again: hundreds of small kernels, which
cost more to launch than to run."""
ONE_LENGTH = frozenset({"vocoder"})
"""Graphs of many convolutions, which cuDNN plans anew at every change of length: half a second for
the real vocoder on an H100, where a run takes 12 to 30 ms. Lengths that return get sessions of
their own, and their weights are held once for each."""


@dataclass(frozen=True, slots=True)
class ProviderFacts:
    """What ONNX Runtime calls a provider, its options, and those that take what it leaves.

    Attributes:
        capturing: more options, with which it replays runs as CUDA graphs; none: it cannot.
        one_length: graphs whose lengths get sessions of their own.
    """

    name: str
    options: Mapping[str, str] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    capturing: Mapping[str, str] = field(default_factory=dict)
    one_length: frozenset[str] = frozenset()


_CUDA = "CUDAExecutionProvider"
PROVIDERS: Mapping[Provider, ProviderFacts] = {
    # the memory pool grows by what is asked for, not to the next power of two; a convolution's
    # algorithm is looked up: trying all of them takes seconds for every new length of a sound
    "cuda": ProviderFacts(
        _CUDA,
        {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC"},
        capturing={"enable_cuda_graph": "1"},
        one_length=ONE_LENGTH,
    ),
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
                fix="`pip uninstall onnxruntime`, then "
                "`pip install 'onnxruntime-gpu[cuda,cudnn]'`; on a Jetson take NVIDIA's wheel for "
                "its JetPack. TensorRT-RTX needs a build with it",
            )
        self.name = f"onnxruntime-{provider}"
        self._device = device
        self._facts = facts
        with_options = [(facts.name, dict(facts.options)), *((one, {}) for one in facts.others)]
        usable = [(name, options) for name, options in with_options if name in there]
        self._providers = [*usable, ("CPUExecutionProvider", {})]

    def load(self, path: Path, contract: GraphContract) -> DeviceGraph:  # type: ignore[override]
        session, captures = self._started(path, contract.name, contract.name in REPLAYED)
        found = boundary(session)
        verify(contract, found.inputs, found.outputs, path)

        def another() -> DeviceSession:
            return DeviceSession(*self._started(path, contract.name, False), contract.name)

        return DeviceGraph(
            DeviceSession(session, captures, contract.name), contract, self._device,
            another if contract.name in self._facts.one_length else None,
        )  # fmt: skip

    def _started(self, path: Path, name: str, captures: bool) -> tuple[Any, bool]:
        """A session on the device, and whether it captures what it is asked to."""
        if captures and self._facts.capturing:
            first, options = self._providers[0]
            capturing = [(first, {**options, **self._facts.capturing}), *self._providers[1:]]
            try:
                return self._on_device(path, name, capturing), True
            except OmnijetError as error:  # a part of the graph is left to the processor, say
                _log.info("%s runs uncaptured: %s", name, error.got)
        return self._on_device(path, name, self._providers), False

    def _on_device(self, path: Path, name: str, providers: Providers) -> Any:
        with GATE.shared():
            session = self.session(path, name, providers=providers)
            if session.get_providers()[0] != self._facts.name:  # it falls back without an error
                _preload()
                session = self.session(path, name, providers=providers)
        if session.get_providers()[0] != self._facts.name:
            raise OmnijetError(
                f"{self._facts.name} did not start",
                where=path,
                got="running on " + ", ".join(session.get_providers()),
                fix="look for what its libraries need: CUDA and cuDNN of the versions that this "
                "onnxruntime was built with (`pip install 'onnxruntime-gpu[cuda,cudnn]'`), a GPU "
                "and its driver",
            )
        return session


def _preload() -> None:
    """CUDA and cuDNN that pip installed lie beside onnxruntime, where no linker looks."""
    preload = getattr(onnxruntime, "preload_dlls", None)
    if preload is not None:
        with redirect_stdout(StringIO()):  # it prints what it does not find
            preload()
