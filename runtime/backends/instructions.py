"""The instruction sets of this processor that choose kernels of ONNX Runtime."""

from __future__ import annotations

import platform
from pathlib import Path

X86 = frozenset({
    "amx_int8", "amx_tile", "avx", "avx2", "avx512_bf16", "avx512_vnni", "avx512bw", "avx512dq",
    "avx512f", "avx512vl", "avx_vnni", "f16c", "fma", "sse4_1",
})  # fmt: skip
ARM = frozenset({"asimd", "asimddp", "asimdhp", "bf16", "i8mm", "sme", "sme2", "sve", "sve2"})
"""Names as Linux writes them. Those of X86 are what MLAS, ONNX Runtime's library of products, asks
`cpuid` for; those of ARM what it asks the system for."""
VNNI = frozenset({"avx512_vnni", "avx_vnni"})
"""Either sums products of u8 and s8 in 32 bits. Other x86 sums pairs in 16 bits, and saturates."""
_LINES = ("flags", "Features")


def instruction_sets(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, ...]:
    """Returns the architecture, and the instruction sets that matter, sorted.

    Where the system does not list them, the architecture stands alone.
    """
    found: set[str] = set()
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, listed = line.partition(":")
        if name.strip() in _LINES:
            found |= (X86 | ARM) & set(listed.split())
            break  # all cores of a machine that Linux runs on have the same
    return (platform.machine().lower(), *sorted(found))
