"""Resident memory before, during and after a block of code."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import pytest

from omnijet.runtime.profiling.resident import Resident, memory_bytes


def fake(root: Path, now_kb: int, peak_kb: int) -> None:
    folder = root / "proc/self"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "status").write_text(f"VmHWM:\t  {peak_kb} kB\nVmRSS:\t  {now_kb} kB\n")


def hold_and_give_back(nbytes: int) -> None:
    """Touch pages of our own: an array may be laid into what the heap holds resident anyway."""
    with mmap.mmap(-1, nbytes) as pages:
        for at in range(0, nbytes, mmap.PAGESIZE):
            pages[at] = 1


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_peak_belongs_to_its_scenario() -> None:
    """Memory that was freed before does not count; memory that is held meanwhile does."""
    hold_and_give_back(64 << 20)
    end = Resident.watch()
    quiet = end()
    if quiet.scope == "process":
        pytest.skip("this system does not let the peak be reset")
    end = Resident.watch()
    hold_and_give_back(64 << 20)
    busy = end()
    assert quiet.peak - quiet.before < 16 << 20
    assert busy.peak - busy.before > 56 << 20 and busy.after < busy.peak - (32 << 20)


def test_where_the_peak_cannot_be_reset_it_is_the_process_s(tmp_path: Path) -> None:
    fake(tmp_path, 1000, 900_000)
    found = Resident.watch(tmp_path)()  # no clear_refs at all
    assert found == Resident(1_024_000, 1_024_000, 921_600_000, "process")
    assert "of the process so far" in str(found)
    (tmp_path / "proc/self/clear_refs").write_text("")  # taken, and nothing done
    assert Resident.watch(tmp_path)().scope == "process"
    assert (tmp_path / "proc/self/clear_refs").read_text() == "5"
    fake(tmp_path, 1000, 1001)
    assert Resident.watch(tmp_path)().scope == "scenario"


def test_what_is_not_told_is_unknown(tmp_path: Path) -> None:
    assert memory_bytes(tmp_path) == (0, 0)
    found = Resident.watch(tmp_path)()
    assert found == Resident(0, 0, 0, "unknown") and str(found) == "memory unknown"
