"""Arrays between host and device."""

from __future__ import annotations

from typing import Any

import onnxruntime

from omnijet.runtime.backends.ort_gpu.gate import GATE
from omnijet.runtime.bundle.contract import Array


def on_device(device: str, array: Array) -> Any:
    """A copy of an array in memory of its own.

    Args:
        device: in ONNX Runtime's words.
    """
    make = onnxruntime.OrtValue.ortvalue_from_shape_and_type
    with GATE.shared():
        value = make(array.shape, array.dtype, device, 0)
        value.update_inplace(array)
    return value


def to_host(value: Any) -> Array:
    """A copy of a device's array."""
    with GATE.shared():
        found: Array = value.numpy()
    return found
