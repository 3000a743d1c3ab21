"""Predicts how much memory a build takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from omnijet.engines.lowering.blocks import is_int8_block
from omnijet.engines.targets.build_rates import SYSTEM_BYTES
from omnijet.engines.targets.target import Target
from omnijet.export.graphfile.loading import load_graph
from omnijet.runtime.bundle.operators import STANDARD, Operators
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.machine.memory import free_bytes


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


def require_memory(graph: str, least: int, target: Target) -> None:
    """Checks that this machine has enough free memory now. Raises `OmnijetError`."""
    available = free_bytes()
    if least > available:
        raise OmnijetError(
            f"there is too little memory to build {graph}",
            where=f"this machine, for target {target.name}",
            expected=f"{least / 1e9:.1f} GB free",
            got=f"{available / 1e9:.1f} GB free",
            fix=remedy(graph),
        )


def remedy(graph: str) -> str:
    return (
        f"close other programs and build this graph alone (--graphs {graph}), add swap, or take a "
        "recipe of fewer bits (`omnijet quantize --list`)"
    )
