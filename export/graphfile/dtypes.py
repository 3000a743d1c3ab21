"""The dtypes of the contract as ONNX dtypes."""

from __future__ import annotations

import onnx_ir as ir

from omnijet.runtime.bundle.contract import DType

IR_DTYPES: dict[DType, ir.DataType] = {
    "f32": ir.DataType.FLOAT,
    "f16": ir.DataType.FLOAT16,
    "bf16": ir.DataType.BFLOAT16,
    "i64": ir.DataType.INT64,
    "bool": ir.DataType.BOOL,
}
