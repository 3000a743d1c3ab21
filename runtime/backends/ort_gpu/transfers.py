"""Copies of arrays between the host and a device."""

from __future__ import annotations

from typing import Any

import onnxruntime

from omnijet.runtime.backends.ort_gpu.gate import GATE
from omnijet.runtime.bundle.contract import Array


def on_device(device: str, array: Array) -> Any:
    """Copies an array to new memory on a device.

    Args:
        device: ONNX Runtime's name of it.
    """
    make = onnxruntime.OrtValue.ortvalue_from_shape_and_type
    with GATE.shared():
        value = make(array.shape, array.dtype, device, 0)
        value.update_inplace(array)
    return value


def to_host(value: Any) -> Array:
    """Copies a device's array to new memory of the host."""
    with GATE.shared():
        found: Array = value.numpy()
    return found
