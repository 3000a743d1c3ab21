"""How much memory a build takes, before it is begun."""

from __future__ import annotations

from pathlib import Path

from engines.targets import Target
from engines.toolkits import Library
from runtime.errors import OmnijetError
from runtime.manifest import GraphEntry

BASE_BYTES = 450_000_000
"""Libraries, the network's layers and kernels of a graph without weights."""

PER_WEIGHT_BYTE: dict[Library, float] = {"tensorrt": 4.0, "tensorrt_rtx": 2.0}
PER_PARAMETER = 0.0

SYSTEM_BYTES = 1_500_000_000
"""Of a Jetson's memory, what its system keeps for itself."""


def predicted_bytes(entry: GraphEntry, library: Library) -> int:
    """Memory of the process that builds this graph, at its peak."""
    return round(
        BASE_BYTES
        + PER_WEIGHT_BYTE[library] * entry.weight_bytes
        + PER_PARAMETER * entry.parameters
    )


def available_bytes() -> int:
    """Of this machine, without swap."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("Linux tells its memory in /proc/meminfo")


def require_memory(graph: str, predicted: int, target: Target) -> None:
    """Is there enough for it now, on this machine? Raises `OmnijetError`."""
    available = available_bytes()
    if predicted > available:
        raise OmnijetError(
            f"there is too little memory to build {graph}",
            where=f"this machine, for target {target.name}",
            expected=f"{predicted / 1e9:.1f} GB free",
            got=f"{available / 1e9:.1f} GB free",
            fix=remedy(graph),
        )


def remedy(graph: str) -> str:
    return (
        f"close other programs and build this graph alone (--graphs {graph}); add --weight-"
        "streaming; add swap; or take a recipe of fewer bits (`omnijet quantize BUNDLE --list`)"
    )
