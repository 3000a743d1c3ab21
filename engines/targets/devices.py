"""Machines that bundles run on, with the sources of their figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from omnijet.engines.targets.sources import UNKNOWN, Fact


@dataclass(frozen=True, slots=True)
class Device:
    """One machine, or the smallest of a family.

    Attributes:
        title: what its owner calls it.
        compute_capability: the GPU's compute capability times ten (87 for 8.7); None: no GPU.
        memory_gb: the GPU's memory, or the whole machine's if the GPU shares it.
        shared: the GPU has no memory of its own.
        bandwidth_gb_s: peak bandwidth of the memory.
        fp16_tflops: peak of dense products that are summed in FP32; `int8_tops` and `fp8_tflops`
            likewise.
        cards: what the driver's name of such a card ends with, or has before its memory; empty:
            a card is known by its compute capability alone.
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
    cards: tuple[str, ...] = ()


# Unknown are all figures of a CPU, and of a GPU that is not named; the GPU's share of the TOPS of
# an Orin NX, published together with its two DLAs; all products of a Thor but FP8; products of
# families of cards.
DEVICES: Mapping[str, Device] = {
    device.name: device
    for device in (
        Device("cpu", "any x86-64 or ARM processor", None, UNKNOWN, True, UNKNOWN),
        Device("cuda", "any NVIDIA card", None, UNKNOWN, False, UNKNOWN),
        Device("orin-nano-4", "Jetson Orin Nano 4 GB (Super)", 87,
               Fact(4, "orin-nano"), True, Fact(51, "orin-nano")),
        Device("orin-nano", "Jetson Orin Nano 8 GB (Super)", 87,
               Fact(8, "orin-nano"), True, Fact(102, "orin-nano"),
               Fact(17, "orin-nano"), Fact(33, "orin-nano")),
        Device("orin-nx-8", "Jetson Orin NX 8 GB", 87,
               Fact(8, "orin-nx"), True, Fact(102, "orin-nx")),
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
        Device("rtx-3090", "GeForce RTX 3090, 3090 Ti", 86,
               Fact(24, "ampere"), False, Fact(936, "ampere"),
               Fact(71, "ampere"), Fact(284, "ampere"), cards=("RTX 3090", "RTX 3090 Ti")),
        Device("rtx-a6000", "RTX A6000", 86,
               Fact(48, "a6000"), False, Fact(768, "a6000"),
               Fact(154.8, "a6000"), Fact(309.7, "a6000"), cards=("RTX A6000",)),
        Device("rtx-4090", "GeForce RTX 4090", 89,
               Fact(24, "ada"), False, Fact(1008, "ada"),
               Fact(165.2, "ada"), Fact(660.6, "ada"), Fact(330.3, "ada"), cards=("RTX 4090",)),
        Device("rtx-5090", "GeForce RTX 5090", 120,
               Fact(32, "blackwell"), False, Fact(1792, "blackwell"),
               Fact(209.5, "blackwell"), cards=("RTX 5090",)),
        Device("t4", "T4", 75,
               Fact(16, "t4"), False, Fact(320, "t4"), Fact(65, "t4"), Fact(130, "t4"),
               cards=("T4",)),
        Device("a100-40", "A100 40 GB", 80,
               Fact(40, "a100"), False, Fact(1555, "a100"), Fact(312, "a100"), Fact(624, "a100"),
               cards=("A100-SXM4-40GB", "A100-PCIE-40GB")),
        Device("a100-80", "A100 80 GB", 80,
               Fact(80, "a100"), False, Fact(1935, "a100"), Fact(312, "a100"), Fact(624, "a100"),
               cards=("A100-SXM4-80GB", "A100 80GB PCIe")),
        Device("l40s", "L40S", 89,
               Fact(48, "l40s"), False, Fact(864, "l40s"),
               Fact(362, "l40s"), Fact(733, "l40s"), Fact(733, "l40s"), cards=("L40S",)),
        Device("dgx-spark", "DGX Spark (GB10)", 121,
               Fact(128, "dgx-spark"), True, Fact(273, "dgx-spark"), cards=("GB10",)),
        Device("cuda-turing", "GeForce RTX 20 series, other cards of Turing", 75,
               Fact(8, "geforce"), False, Fact(448, "geforce")),
        Device("rtx-ampere", "GeForce RTX 3060 12 GB, other cards of Ampere", 86,
               Fact(12, "geforce"), False, Fact(360, "geforce")),
        Device("rtx-ada", "GeForce RTX 4070, other cards of Ada", 89,
               Fact(12, "geforce"), False, Fact(504, "geforce")),
        Device("rtx-blackwell", "GeForce RTX 5070, other cards of Blackwell", 120,
               Fact(12, "geforce"), False, Fact(672, "geforce")),
        Device("cuda-ampere", "A10", 86, Fact(24, "a10"), False, Fact(600, "a10"),
               cards=("A10",)),
        Device("cuda-ada", "L4", 89, Fact(24, "l4"), False, Fact(300, "l4"), cards=("L4",)),
        Device("cuda-hopper", "H100, other cards of Hopper", 90,
               Fact(80, "h100"), False, Fact(3350, "h100"), Fact(989, "h100"),
               Fact(1979, "h100"), Fact(1979, "h100")),
        Device("cuda-blackwell", "RTX PRO 6000 Blackwell", 120,
               Fact(96, "pro-6000"), False, Fact(1792, "pro-6000"),
               cards=("RTX PRO 6000 Blackwell Workstation Edition",)),
    )
}  # fmt: skip
