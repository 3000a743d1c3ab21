"""Arrays on a device."""

from __future__ import annotations

from typing import Any

import onnxruntime

from runtime.contract import Array


def on_device(device: str, array: Array) -> Any:
    """A copy of an array in memory of its own.

    Args:
        device: in ONNX Runtime's words.
    """
    value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype, device, 0)
    value.update_inplace(array)
    return value
