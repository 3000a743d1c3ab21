"""Targets: a machine with a library, what it can compute, and its limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from omnijet.engines.targets.devices import DEVICES, Device
from omnijet.engines.targets.limits import limits_for
from omnijet.engines.targets.sources import Fact
from omnijet.engines.targets.toolkits import TOOLKITS, Flavour, Library, Toolkit
from omnijet.runtime.bundle.contract import Precision

Numbers = Literal["int4 weights", "int8 weights", "int8", "fp8"]
"""Number types of products besides floats. The first two need no rounded activations; activations
can have the last two."""

INTEGERS: frozenset[Numbers] = frozenset({"int4 weights", "int8 weights", "int8"})
FP8_SINCE, BF16_SINCE = 89, 80
"""Compute capability of Ada, the first whose tensor cores multiply FP8, and of Ampere, the first
with BF16 (source: `matrix`).
All targets with TensorRT multiply INT8 and take INT4 weights (source: `layers`)."""


@dataclass(frozen=True, slots=True)
class Target:
    """A device with a toolkit: `agx-orin-64` on JetPack 6.2 and on 7.2 are two targets."""

    device: Device
    toolkit: Toolkit

    @property
    def name(self) -> str:
        """The device's name, with the platform's if one ships the toolkit alone."""
        platform = self.toolkit.name.removeprefix("ort-")
        shipped_alone = platform.startswith("jp")
        return f"{self.device.name}-{platform}" if shipped_alone else self.device.name

    @property
    def title(self) -> str:
        return f"{self.device.title}, {self.toolkit.title}"

    @property
    def compute_capability(self) -> int | None:
        """The GPU's compute capability times ten (87 for 8.7); None: no GPU."""
        return self.device.compute_capability

    @property
    def memory_gb(self) -> float | None:
        """The GPU's memory, or the whole machine's if the GPU shares it; None: not known."""
        return self.device.memory_gb.value

    @property
    def bandwidth_gb_s(self) -> float | None:
        """Peak bandwidth of the memory; None: not known."""
        return self.device.bandwidth_gb_s.value

    @property
    def library(self) -> Library:
        return self.toolkit.library

    @property
    def flavour(self) -> Flavour:
        """The form that canonical graphs are lowered to (`omnijet.engines.lowering.flavours`)."""
        return self.toolkit.flavour

    @property
    def numbers(self) -> frozenset[Numbers]:
        """Types that products with weights may have besides floats.

        INT8 weights in blocks cost as much as floats if the toolkit lacks the feature
        `int8 blocks`.
        """
        capability = self.compute_capability
        fp8 = capability is not None and capability >= FP8_SINCE
        return INTEGERS | {"fp8"} if fp8 else INTEGERS

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Floats that graphs may be in."""
        capability = self.compute_capability
        if capability is not None and capability < BF16_SINCE:
            return ("f32", "f16")
        return ("f32", "f16", "bf16")

    def with_memory(self, gigabytes: float) -> Target:
        """Returns this target with another memory, of which its limits follow."""
        return replace(self, device=replace(self.device, memory_gb=Fact(gigabytes, "given")))

    @property
    def limits(self) -> Mapping[str, int]:
        """Default largest size of each symbol of `omnijet.runtime.bundle.contract.AXES`."""
        return limits_for(self.memory_gb, self.flavour, self.bandwidth_gb_s)


def _targets(toolkit: str, *devices: str) -> list[Target]:
    return [Target(DEVICES[device], TOOLKITS[toolkit]) for device in devices]


ORIN = ("orin-nano-4", "orin-nano", "orin-nx-8", "orin-nx", "agx-orin-32", "agx-orin-64")
TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        *_targets("ort", "cpu"),
        *_targets("ort-jp62", "cpu"),
        *_targets("ort-cuda", "cuda"),
        *_targets("jp62", *ORIN),
        *_targets("jp72", *ORIN),
        *_targets("jp70", "thor"),
        *_targets("jp72", "thor"),
        *_targets("rtx", "rtx-3090", "rtx-a6000", "rtx-4090", "rtx-5090"),
        *_targets("rtx", "a100-40", "a100-80", "l40s"),
        *_targets("trt", "t4", "dgx-spark"),
        *_targets("rtx", "rtx-ampere", "rtx-ada", "rtx-blackwell"),
        # TensorRT-RTX 1.7 has no FP32 products for Turing, which the DiT needs (source: `tried`)
        *_targets("trt", "cuda-turing", "cuda-ampere", "cuda-ada", "cuda-hopper", "cuda-blackwell"),
    )
}
