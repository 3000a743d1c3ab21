"""Writes the tables of a bundle: `.npy` files that the runtime maps instead of loading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from omnijet.export.graphfile.dtypes import IR_DTYPES
from omnijet.export.weights.weight_file import BLOCK_BYTES, RowReader, convert, raw_bytes
from omnijet.runtime.bundle.contract import NUMPY_DTYPES, Precision
from omnijet.runtime.bundle.manifest import TableEntry


def write_embedding(
    reader: RowReader, key: str, shape: tuple[int, int], precision: Precision, path: Path
) -> TableEntry:
    """Streams an embedding table into `path` in blocks of rows; bf16 is stored as its bits."""
    dtype = NUMPY_DTYPES[precision]
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    block = max(1, BLOCK_BYTES // (4 * shape[1]))
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, shape[0], block):
            rows = reader.rows(key, start, min(start + block, shape[0]))
            file.write(raw_bytes(convert(rows, IR_DTYPES[precision], key)).tobytes())
    name = "bfloat16" if precision == "bf16" else dtype.name
    return TableEntry(f"tables/{path.name}", name, shape)


def write_table(array: npt.NDArray[Any], path: Path) -> TableEntry:
    """Saves an array that fits in memory."""
    np.save(path, array, allow_pickle=False)
    return TableEntry(f"tables/{path.name}", array.dtype.name, array.shape)
