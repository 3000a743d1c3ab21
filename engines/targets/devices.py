"""Machines that bundles run on, with the sources of their figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from omnijet.engines.targets.sources import UNKNOWN, Fact


@dataclass(frozen=True, slots=True)
class Device:
    """One machine, or the smallest of a family.

    Attributes:
        compute_capability: the GPU's compute capability times ten (87 for 8.7); None: no GPU.
        memory_gb: the GPU's memory, or the whole machine's if the GPU shares it.
        shared: the GPU has no memory of its own.
        bandwidth_gb_s: peak bandwidth of the memory.
        fp16_tflops: peak of dense products; `int8_tops` and `fp8_tflops` likewise.
    """

    name: str
    title: str
    compute_capability: int | None
    memory_gb: Fact
    shared: bool
    bandwidth_gb_s: Fact
    fp16_tflops: Fact = UNKNOWN
    int8_tops: Fact = UNKNOWN
    fp8_tflops: Fact = UNKNOWN


# Unknown are all figures of a CPU, and of a GPU that is not named; the GPU's share of the TOPS of
# an Orin NX, published together with its two DLAs; all products of a Thor but FP8; products of
# cards, where bandwidth decides.
DEVICES: Mapping[str, Device] = {
    device.name: device
    for device in (
        Device("cpu", "x86-64 or ARM", None, UNKNOWN, True, UNKNOWN),
        Device("cuda", "any NVIDIA GPU", None, UNKNOWN, False, UNKNOWN),
        Device("orin-nano", "Jetson Orin Nano 8 GB (Super)", 87,
               Fact(8, "orin-nano"), True, Fact(102, "orin-nano"),
               Fact(17, "orin-nano"), Fact(33, "orin-nano")),
        Device("orin-nx", "Jetson Orin NX 16 GB", 87,
               Fact(16, "orin-nx"), True, Fact(102, "orin-nx")),
        Device("agx-orin-32", "Jetson AGX Orin 32 GB", 87,
               Fact(32, "agx-orin"), True, Fact(205, "agx-orin"),
               Fact(27, "agx-orin"), Fact(54, "agx-orin")),
        Device("agx-orin-64", "Jetson AGX Orin 64 GB", 87,
               Fact(64, "agx-orin"), True, Fact(205, "agx-orin"),
               Fact(42.5, "agx-orin"), Fact(85, "agx-orin")),
        Device("thor", "Jetson AGX Thor (T5000)", 110,
               Fact(128, "thor"), True, Fact(273, "thor"), fp8_tflops=Fact(517, "thor")),
        Device("rtx-ampere", "GeForce RTX 3060 12 GB and above", 86,
               Fact(12, "geforce"), False, Fact(360, "geforce")),
        Device("rtx-ada", "GeForce RTX 4070 and above", 89,
               Fact(12, "geforce"), False, Fact(504, "geforce")),
        Device("rtx-blackwell", "GeForce RTX 5070 and above", 120,
               Fact(12, "geforce"), False, Fact(672, "geforce")),
        Device("cuda-ampere", "A10", 86, Fact(24, "a10"), False, Fact(600, "a10")),
        Device("cuda-ada", "L4", 89, Fact(24, "l4"), False, Fact(300, "l4")),
        Device("cuda-hopper", "H100", 90, Fact(80, "h100"), False, Fact(3350, "h100")),
        Device("cuda-blackwell", "RTX PRO 6000 Blackwell", 120,
               Fact(96, "pro-6000"), False, Fact(1792, "pro-6000")),
    )
}  # fmt: skip
