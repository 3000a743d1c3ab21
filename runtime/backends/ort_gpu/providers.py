"""The GPU providers of ONNX Runtime, and the options that each is started with.

This module does not import onnxruntime, so that the table of backends can read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

REPLAYED = frozenset({"thinker_step", "talker_step", "dit_step"})
"""Graphs whose runs return with the same sizes again and again: hundreds of small kernels, which
cost more to launch than to run."""
ONE_LENGTH = frozenset({"vocoder"})
"""Graphs of many convolutions, which cuDNN plans anew at every change of length: half a second for
the real vocoder on an H100, where a run takes 12 to 30 ms. Lengths that return get sessions of
their own, and each session holds the weights once more."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider of ONNX Runtime.

    Attributes:
        full_name: ONNX Runtime's own name of it.
        title: what it is, for help.
        options: the options it is started with.
        others: full names of the providers that take what this one leaves.
        capturing: more options, with which it replays runs as CUDA graphs; empty: it cannot.
        one_length: graphs whose lengths get sessions of their own.
    """

    full_name: str
    title: str
    options: Mapping[str, str] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    capturing: Mapping[str, str] = field(default_factory=dict)
    one_length: frozenset[str] = frozenset()


_CUDA = "CUDAExecutionProvider"
PROVIDERS: Mapping[str, Provider] = {
    # the memory pool grows by what is asked for, not to the next power of two; a convolution's
    # algorithm is looked up: trying all of them takes seconds for every new length of a sound
    "cuda": Provider(
        _CUDA,
        "CUDA",
        {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC"},
        capturing={"enable_cuda_graph": "1"},
        one_length=ONE_LENGTH,
    ),
    "tensorrt": Provider(
        "TensorrtExecutionProvider",
        "TensorRT",
        {"trt_engine_cache_enable": "1", "trt_timing_cache_enable": "1"},
        (_CUDA,),
    ),
    "nv_tensorrt_rtx": Provider("NvTensorRTRTXExecutionProvider", "TensorRT-RTX", others=(_CUDA,)),
}
"""Providers by the name that a user gives."""
