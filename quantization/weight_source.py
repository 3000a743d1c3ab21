"""Where the float weight of a layer lies, so that any process can read a part of it."""

from __future__ import annotations

import os
from dataclasses import dataclass

import ml_dtypes
import numpy as np

from omnijet.export.graphfile.weight_pages import cut_short
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.errors import OmnijetError

DTYPES = {"f32": np.dtype(np.float32), "f16": np.dtype(np.float16),
          "bf16": np.dtype(ml_dtypes.bfloat16)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class WeightSource:
    """A weight [inputs, outputs] in a file, row by row, or in memory if it is tiny.

    It is read with system calls, not mapped: a file that somebody cuts short is an error then and
    not the end of the process.

    Attributes:
        path: the weight file.
        offset: the weight's first byte.
        dtype: "f32", "f16" or "bf16".
        values: the weight itself, if it lies in no file.
    """

    path: str
    offset: int
    dtype: str
    inputs: int
    outputs: int
    values: Array | None = None

    def read(self, columns: slice = slice(None)) -> Array:
        """Returns f32[inputs, columns].

        Raises:
            OmnijetError: the file is shorter than the graph says, or cannot be read.
        """
        if self.values is not None:
            return np.array(self.values[:, columns], np.float32)
        first, last, _ = columns.indices(self.outputs)
        stored = np.empty((self.inputs, last - first), DTYPES[self.dtype])
        try:
            self._fill(stored, first)
        except OSError as error:
            raise OmnijetError("a weight file cannot be read", where=self.path,
                               got=error.strerror or error,
                               fix="run `omnijet check` on the bundle") from error  # fmt: skip
        floats: Array = stored.astype(np.float32, copy=False)
        return floats

    def _fill(self, stored: Array, first: int) -> None:
        itemsize = stored.dtype.itemsize
        view = stored.view(np.uint8).reshape(-1).data
        row = stored.shape[1] * itemsize
        is_whole = stored.shape[1] == self.outputs
        count, size = (1, len(view)) if is_whole else (self.inputs, row)
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            for number in range(count):
                at = self.offset + (number * self.outputs + first) * itemsize
                done = 0
                while done < size:
                    part = view[number * size + done : (number + 1) * size]
                    got = os.preadv(descriptor, [part], at + done)
                    if not got:
                        raise self._short(descriptor)
                    done += got
        finally:
            os.close(descriptor)

    def _short(self, descriptor: int) -> OmnijetError:
        needed = self.offset + self.inputs * self.outputs * DTYPES[self.dtype].itemsize
        return cut_short(self.path, needed, os.fstat(descriptor).st_size)
