"""Finds weights of a graph that are NaN or infinite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir

from omnijet.export.graphfile.loading import load_graph
from omnijet.runtime.bundle.numbers import EXPONENTS, Odd

_BLOCK_BYTES = 16 << 20


def odd_weights(path: Path, progress: Callable[[int], None]) -> Iterator[str]:
    """Reads all initializers of a graph, and yields one line for each that is not finite.

    Args:
        path: The graph.
        progress: Receives the number of bytes of each block that was read.
    """
    for graph in load_graph(path).graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if tensor is not None and (odd := _odd(tensor, progress)):
                yield f"{value.name}: {odd}"


def _odd(tensor: ir.TensorProtocol, progress: Callable[[int], None]) -> str:
    dtype = {"float": "float32", "double": "float64"}.get(name := tensor.dtype.name.lower(), name)
    if dtype not in EXPONENTS:  # integers
        progress(int(tensor.nbytes))
        return ""
    odd = Odd(dtype, tensor.shape.numpy())
    if not isinstance(tensor, ir.ExternalTensor):
        odd.add(np.frombuffer(tensor.tobytes(), odd.bits))
        return str(odd)
    with open(tensor.path, "rb") as file:
        file.seek(tensor.offset or 0)
        left = int(tensor.nbytes)
        while left > 0 and (data := file.read(min(left, _BLOCK_BYTES))):
            odd.add(np.frombuffer(data, odd.bits))
            progress(len(data))
            left -= len(data)
    return str(odd)
