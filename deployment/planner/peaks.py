"""What a machine reads and multiplies at most, in one second."""

from __future__ import annotations

from dataclasses import dataclass

from omnijet.engines.targets.target import Target

LEAST_INTENSITY = 140.0
"""FP16 operations for each byte of bandwidth where no figure is known: the fewest of the cards
whose data sheets were read (RTX 3060: 51 TFLOPS, 360 GB/s)."""
HALF_OF_SINGLE = 8.0
"""Products of tensor cores in 16 bits, dense, for one of f32 in the other cores (Orin: 8.1)."""
TF32_OF_HALF = 0.5
"""Products that TensorRT and cuDNN round to TF32, for one in 16 bits (Ampere and later)."""


@dataclass(frozen=True, slots=True)
class Peaks:
    """Peak rates of a machine; a multiply-add counts as two operations.

    Attributes:
        read: bytes a second from memory.
        half, int8, fp8: operations a second of dense products in these numbers.
        single: those of f32 products with a weight.
        plain: those of f32 convolutions.
        source: where the rates are from, in words.
        is_cpu: whether a CPU computes.
        threads: of a CPU; 1 for a GPU.
    """

    read: float
    half: float
    int8: float
    fp8: float
    single: float
    plain: float
    source: str
    is_cpu: bool = False

    @staticmethod
    def of_cpu(read: float, single: float, int8: float, source: str) -> Peaks:
        """Returns the rates of a CPU, which multiplies floats of 16 bits in f32."""
        return Peaks(read, single, int8, single, single, single, source, is_cpu=True)


BENCHED = Peaks.of_cpu(30.9e9, 198e9, 770e9, "2 cores of an AMD EPYC, measured for BENCHMARKS.md")
"""The machine of `make bench-full` in BENCHMARKS.md."""


def peaks_of(target: Target, cpu: Peaks = BENCHED) -> Peaks | None:
    """Returns the rates of a target; None if its bandwidth is not known.

    Args:
        cpu: what stands for a CPU, of which no data sheet says what it reads.
    """
    device = target.device
    if device.name == "cpu":
        return cpu
    if device.bandwidth_gb_s.value is None:
        return None
    read = 1e9 * device.bandwidth_gb_s.value
    half, how = _half(target, read)
    int8 = 1e12 * device.int8_tops.value if device.int8_tops.value else 2 * half
    fp8 = 1e12 * device.fp8_tflops.value if device.fp8_tflops.value else 2 * half
    return Peaks(read, half, int8, fp8, TF32_OF_HALF * half, half / HALF_OF_SINGLE, how)


def _half(target: Target, read: float) -> tuple[float, str]:
    device = target.device
    for fact, share in (
        (device.fp16_tflops, 1.0),
        (device.int8_tops, 0.5),
        (device.fp8_tflops, 0.5),
    ):
        if fact.value is not None:
            return 1e12 * share * fact.value, "peak rates of the data sheet"
    return LEAST_INTENSITY * read, "peak bandwidth of the data sheet; arithmetic estimated from it"
