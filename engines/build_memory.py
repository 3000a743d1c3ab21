"""Predicts how much memory a build takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from omnijet.engines.lowering.blocks import is_int8_block
from omnijet.engines.targets.build_rates import SYSTEM_BYTES, UNMEASURED
from omnijet.engines.targets.target import Target
from omnijet.export.graphfile.loading import load_graph
from omnijet.runtime.bundle.operators import STANDARD, Operators
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.machine.memory import free_bytes, zram_bytes


@dataclass(frozen=True, slots=True)
class WeightBytes:
    """The bytes of a graph's weights.

    Attributes:
        packed: bytes of the weights with two numbers in a byte; part of the total.
        largest: bytes of the largest tensor.
    """

    total: int
    packed: int
    largest: int

    @staticmethod
    def of(
        graph: Path, int8_blocks: bool = True, operators: Operators = STANDARD, wide: bool = False
    ) -> WeightBytes:
        """Counts the bytes of a graph file's weights without reading them.

        Args:
            int8_blocks: whether INT8 weights in blocks stay INT8; else they become floats.
            operators: those that the graph may have.
            wide: whether floats of 16 bits become f32.

        Raises:
            OmnijetError: the file is no graph of ours in these operators.
        """
        sizes, packed = [0], 0
        loaded = load_graph(graph, operators).graph
        grown = {} if int8_blocks else dict(map(_grown, filter(is_int8_block, loaded)))
        for value in loaded.initializers.values():
            if value.const_value is not None:
                twice = 2 if wide and value.const_value.dtype in HALVES else 1
                sizes.append(int(value.const_value.nbytes) * grown.get(value.name, 1) * twice)
                packed += sizes[-1] if value.const_value.dtype in PACKED else 0
        return WeightBytes(sum(sizes), packed, max(sizes))


def _grown(node: ir.Node) -> tuple[str | None, int]:
    """Returns an 8-bit weight and the bytes of one of its numbers as a float, as its scale has."""
    weight, scale = node.inputs[:2]
    assert weight is not None and scale is not None and scale.dtype is not None
    return weight.name, scale.dtype.bitwidth // 8


HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
PACKED = (ir.DataType.INT4, ir.DataType.UINT4)


def device_bytes(target: Target) -> float | None:
    """Returns the memory for a build on the target; None if it is unknown or not built there."""
    if target.library != "tensorrt" or target.memory_gb is None:
        return None
    return target.memory_gb * 1e9 - (SYSTEM_BYTES if target.device.shared else 0)


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that the build of a graph takes: as predicted, and at least."""

    predicted: int
    least: int


def memory_warning(graph: str, need: Need, target: Target, ignored: bool = False) -> str | None:
    """Compares what a build needs with the memory that is free now, which is never zram.

    Args:
        ignored: whether too little memory only warns.

    Returns:
        A warning, or None if there is enough.

    Raises:
        OmnijetError: there is less than the build takes at least.
    """
    free = free_bytes()
    shown = f"{free / 1e9:.1f} GB free"
    if need.least > free and not ignored:
        raise OmnijetError(
            f"there is too little memory to build {graph}",
            where=f"this machine, for target {target.name}",
            expected=f"{need.least / 1e9:.1f} GB free{_measured_with(target)}",
            got=shown + _beside_zram(),
            fix=f"{remedy(graph)}; --ignore-memory builds all the same",
        )
    why = UNMEASURED.get(target.library)
    if need.least <= free and (why is None or need.predicted <= free):
        return None  # pages of files can be taken back
    said = f"{graph} may need {need.predicted / 1e9:.1f} GB, and there are {shown}"
    if why is None:
        return said
    least = f"{need.least / 1e9:.1f} GB are needed{_measured_with(target)}"
    return f"{said}; that is not measured: {why}. {least}"


def _measured_with(target: Target) -> str:
    return ", as measured with TensorRT-RTX" if target.library in UNMEASURED else ""


def _beside_zram() -> str:
    zram = zram_bytes()
    return f"; {zram / 1e9:.1f} GB of swap in zram are memory itself" if zram else ""


def remedy(graph: str) -> str:
    return (
        f"close other programs and build this graph alone (--graphs {graph}), add swap on a disk, "
        "or take a recipe of fewer bits (`omnijet quantize --list`)"
    )
