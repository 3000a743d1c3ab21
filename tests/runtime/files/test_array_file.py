from __future__ import annotations

import io
import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omnijet.runtime.files.array_file import mapped_array, read_archive_of_arrays
from omnijet.runtime.files.bounded import BadFile

ARRAY = np.arange(12, dtype=np.float32).reshape(3, 4)


def written(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def header(text: str) -> bytes:
    content = text.encode("latin1") + b"\n"
    return b"\x93NUMPY\x01\x00" + len(content).to_bytes(2, "little") + content


GOOD = written(ARRAY)
PLAIN = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }"
LONG = b"\x93NUMPY\x02\x00" + (1 << 30).to_bytes(4, "little")
BAD = {
    "empty": (b"", "empty"),
    "headerless": (ARRAY.tobytes(), "no .npy"),
    "magic alone": (GOOD[:8], "no .npy"),
    "cut in the header": (GOOD[:60], "header"),
    "cut in the numbers": (GOOD[:-1], "175 bytes, not 176"),
    "longer": (GOOD + b"\0", "177 bytes, not 176"),
    "a header of a gigabyte": (LONG + bytes(100), "no .npy"),
    "an object": (written(np.array([None])), "object"),
    "by columns": (written(np.asfortranarray(ARRAY)), "by columns"),
    "other shape": (written(ARRAY.T.copy()), r"float32\[4, 3\]"),
    "other dtype": (written(ARRAY.astype(np.float64)), "float64"),
    "other byte order": (written(ARRAY.astype(">f4")), ">f4"),
    "fields": (written(np.zeros(3, [("a", "f4")])), "header"),
    "negative": (header(PLAIN.replace("(3, 4)", "(-3, 4)")), "header"),
    "an enormous shape": (header(PLAIN.replace("(3, 4)", "(999999999999, 4)")), "float32"),
    "many digits": (header(PLAIN.replace("(3, 4)", "(" + "1" * 3000 + "x)")), "header"),
    "no dtype": (header(PLAIN.replace("<f4", "<f3")), "dtype"),
    "an expression": (header("{'descr': '<f4'}" + "(" * 500), "header"),
    "a zip file": (b"PK\x03\x04" + bytes(100), "no .npy"),
}


def test_maps_what_numpy_writes(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    for array in (ARRAY, np.zeros(0, np.int8), np.zeros((2, 0)), np.float32(1), ARRAY[0] > 1):
        path.write_bytes(written(array))
        found = mapped_array(path, array.dtype.name, array.shape)
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype
        assert not found.flags.writeable or not found.size


@pytest.mark.parametrize("name", BAD)
def test_refuses_what_it_does_not(tmp_path: Path, name: str) -> None:
    content, why = BAD[name]
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(BadFile, match=why):
        mapped_array(path, "float32", (3, 4))


def test_a_table_is_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(BadFile, match="not a regular file"):
            mapped_array(place, "float32", (3, 4))
    with pytest.raises(OSError):
        mapped_array(tmp_path / "none", "float32", (3, 4))


def test_reads_the_arrays_of_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    arrays = {"text": np.array("ä"), "0/rows": ARRAY, "0/none": np.zeros((0, 3), np.float16)}
    np.savez(path, **arrays)
    found = dict(read_archive_of_arrays(path))
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_an_archive_is_no_larger_than_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.zeros(50_000_000, np.uint8))
    tracemalloc.start()
    with pytest.raises(BadFile, match="compressed"):
        list(read_archive_of_arrays(path))
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()
