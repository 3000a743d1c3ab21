"""TensorRT's names of data types, translated into the contract's."""

from __future__ import annotations

from collections.abc import Mapping

from omnijet.runtime.bundle.contract import DType

DTYPES: Mapping[str, DType] = {
    "FLOAT": "f32",
    "HALF": "f16",
    "BF16": "bf16",
    "INT64": "i64",
    "BOOL": "bool",
}
