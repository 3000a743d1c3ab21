"""Writes the tables of a bundle: `.npy` files that the runtime maps instead of loading."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from omnijet.export.checkpoint.numbers import first_odd
from omnijet.export.graphfile.dtypes import IR_DTYPES
from omnijet.export.graphfile.running_hash import HashedWriter
from omnijet.export.weights.weight_file import BLOCK_BYTES, RowReader, convert, raw_bytes
from omnijet.runtime.bundle.contract import NUMPY_DTYPES, Precision
from omnijet.runtime.bundle.manifest import FileEntry, TableEntry
from omnijet.runtime.errors import OmnijetError

_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,100}")


def write_embedding(
    reader: RowReader, key: str, shape: tuple[int, int], precision: Precision, path: Path
) -> tuple[TableEntry, FileEntry]:
    """Streams an embedding table into `path` in blocks of rows; bf16 is stored as its bits."""
    dtype = NUMPY_DTYPES[precision]
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    block = max(1, BLOCK_BYTES // (4 * shape[1]))
    with HashedWriter(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, shape[0], block):
            rows = reader.rows(key, start, min(start + block, shape[0]))
            file.write(raw_bytes(convert(rows, IR_DTYPES[precision], key)))
    name = "bfloat16" if precision == "bf16" else dtype.name
    return TableEntry(f"tables/{path.name}", name, shape), file.entry()


def write_table(array: npt.NDArray[Any], folder: Path, name: str) -> TableEntry:
    """Saves an array that fits in memory, in a file that is called like the table if it can be.

    Args:
        array: The table.
        folder: The folder of all tables.
        name: The name of the table: that of a voice may be no name that a file can have.

    Raises:
        OmnijetError: A value is NaN or infinite.
    """
    if place := first_odd(torch.from_numpy(array)):
        raise OmnijetError(
            "a computed table has values that are not finite",
            where=name,
            expected="numbers",
            got=place,
            fix="the weights that it is computed from are too large: take another checkpoint",
        )
    path = _free_path(folder, name)
    np.save(path, array, allow_pickle=False)
    return TableEntry(f"tables/{path.name}", array.dtype.name, array.shape)


def _free_path(folder: Path, name: str) -> Path:
    """Returns a path that no other table has, in any folder that ignores case."""
    taken = {path.name.lower() for path in folder.iterdir()}
    stem = name if _PLAIN.fullmatch(name) else re.sub(r"[^A-Za-z0-9_]+", "_", name)[:40]
    for number in itertools.count(1):
        file = f"{stem}.npy" if number == 1 else f"{stem}_{number}.npy"
        if file.lower() not in taken:
            return folder / file
    raise AssertionError
