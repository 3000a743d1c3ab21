"""Hashes that are made while a file is written are those of the file."""

from __future__ import annotations

import os
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from omnijet.export.graphfile.running_hash import HashedWriter, RunningHash
from omnijet.export.graphfile.weight_pages import PAGE, WeightPages
from omnijet.runtime.bundle.manifest import hash_file
from tests.threads import new_threads


def test_a_file_that_is_written_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.touch()
    content = np.random.default_rng(0).bytes(3 * PAGE + 5)
    with RunningHash(path) as behind, open(path, "r+b", buffering=0) as file:
        os.pwrite(file.fileno(), content[PAGE : 2 * PAGE], PAGE)
        os.pwrite(file.fileno(), content[:PAGE], 0)
        behind.upto(2 * PAGE)
        behind.upto(PAGE)  # says nothing new
        os.pwrite(file.fileno(), content[3 * PAGE :], 3 * PAGE)  # with a hole before it
        assert behind.entry() == hash_file(path)
    with pytest.raises(EOFError), RunningHash(path) as behind:
        behind.upto(len(content) + 1)
        behind.entry()
    assert not new_threads()


def test_a_file_that_is_written_to_its_end(tmp_path: Path) -> None:
    with HashedWriter(tmp_path / "w") as file:
        assert file.write(b"head") == 4 and file.write(np.arange(6, dtype=np.float32)) == 24
    assert file.entry() == hash_file(tmp_path / "w")


@pytest.mark.parametrize("tensors", [0, 5])
def test_a_weight_file(tmp_path: Path, tensors: int) -> None:
    random = np.random.default_rng(1)
    with WeightPages(tmp_path, "w", is_hashed=True) as pages:
        for number in range(tensors):
            values = random.standard_normal((100, 31 + number)).astype(np.float16)
            kept = pages.add(f"{number}", values)
            four = random.integers(-8, 8, (99, 33)).astype(ml_dtypes.int4)
            pages.add(f"{number}.four", four, ir.DataType.INT4)
            assert pages.holds(kept) and np.array_equal(kept.numpy(), values)
            with WeightPages(tmp_path, f"copy-{number}", is_hashed=True) as other:
                assert not other.holds(kept) and other.holds(other.copy(kept))
            assert other.entry == hash_file(tmp_path / f"copy-{number}")
    assert pages.entry == hash_file(tmp_path / "w")
