"""Published numbers and their sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SOURCES: Mapping[str, str] = {
    "orin-nano": "NVIDIA, Jetson Orin Nano Super developer kit: 67 TOPS of INT8 with sparsity, "
    "half of it without, FP16 half of INT8; 102 GB/s; with 4 GB, half as wide a memory",
    "orin-nx": "NVIDIA, Jetson Orin NX series data sheet",
    "agx-orin": "NVIDIA, Jetson AGX Orin series technical brief: 170 (64 GB) and 108 (32 GB) TOPS "
    "of INT8 with sparsity on the GPU alone, half of it without; FP16 half of INT8",
    "thor": "NVIDIA, Jetson T5000: 2,070 TFLOPS of FP4 with sparsity; half of it without, and half "
    "of that in FP8",
    "geforce": "NVIDIA, GeForce specifications: 256 bit at 14, 192 bit at 15, 21 and 28 Gbit/s",
    "ampere": "NVIDIA, Ampere GA102 GPU architecture, RTX 3090: dense, FP16 summed in FP32",
    "a6000": "NVIDIA, RTX A6000 data sheet: 309.7 TFLOPS with sparsity, half of it without",
    "ada": "NVIDIA, Ada GPU architecture, RTX 4090: dense, FP16 and FP8 summed in FP32",
    "blackwell": "NVIDIA, RTX Blackwell GPU architecture, RTX 5090: dense, FP16 summed in FP32",
    "t4": "NVIDIA, T4 data sheet",
    "a100": "NVIDIA, A100 data sheet: dense; with 80 GB the figures of the PCIe card",
    "l40s": "NVIDIA, L40S data sheet: 362.05 TFLOPS of FP16 and 733 of FP8 without sparsity",
    "dgx-spark": "NVIDIA, DGX Spark data sheet: 128 GB of LPDDR5x for CPU and GPU, 273 GB/s",
    "a10": "NVIDIA, A10 data sheet",
    "l4": "NVIDIA, L4 data sheet",
    "h100": "NVIDIA, H100 data sheet, SXM",
    "pro-6000": "NVIDIA, RTX PRO 6000 Blackwell Workstation Edition data sheet",
    "jetpack": "NVIDIA, JetPack release notes: 6.2 and 6.2.1, 7.0, 7.2 and 7.2.2",
    "operators": "onnx/onnx-tensorrt, docs/operators.md and docs/Changelog.md",
    "layers": "NVIDIA/TensorRT, NvInfer.h of the version",
    "given": "the user's --memory, or what this machine reports",
    "matrix": "NVIDIA, TensorRT support matrix: numbers by compute capability",
    "tried": "parsed and built with TensorRT-RTX 1.7, `python -m tools.full_size.build`",
    "ort": "ONNX Runtime 1.32 on a CPU, as the tests run it; 1.25 is the first that reads opset 24",
    "ort-older": "ONNX Runtime 1.23.2, the newest for Python 3.10, on x86-64 (`docs/arm64.md`)",
}
"""Key -> source. No figure of a device was measured here, and the data sheets were not at hand when
the figures were written down: check them there before you rely on one."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A published number and the key of its source; both None: not published, or not found."""

    value: float | None
    source: str | None

    def __post_init__(self) -> None:
        assert (self.value is None) == (self.source is None), self
        assert self.source is None or self.source in SOURCES, self


UNKNOWN = Fact(None, None)
