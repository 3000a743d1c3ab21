"""The disk is read for a moment, past the cache where that is possible."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import Path

import pytest

from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.doctor import disk
from omnijet.runtime.doctor.disk import BLOCK, disk_free, disk_speed, largest_file, read_rate
from tests.runtime.bundle.test_folder import toy
from tests.runtime.doctor.patients import patient


def test_a_rate_is_what_was_read_in_the_time(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3 * BLOCK))
    seconds = itertools.count(0, 0.01)
    rate, _ = read_rate(path, lambda: next(seconds))
    # the clock is asked at the start, before each of four reads, and at the end
    assert rate == pytest.approx(3 * BLOCK / 0.05)


def test_a_slow_disk_is_read_for_a_second_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(8 * BLOCK))
    seconds = itertools.count(0, 0.6)
    rate, _ = read_rate(path, lambda: next(seconds))
    assert rate == pytest.approx(BLOCK / 1.8)


@pytest.mark.parametrize("kind", ["pipe", "folder", "empty"])
def test_what_cannot_be_read_has_no_rate(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.touch()
    assert read_rate(path)[0] is None


def test_a_file_system_without_direct_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refusing(path: Path, flags: int, *more: int) -> int:
        if flags & disk._DIRECT:
            raise OSError(22, "Invalid argument")
        return real(path, flags, *more)

    monkeypatch.setattr(disk.os, "open", refusing)
    path = tmp_path / "file"
    path.write_bytes(bytes(1000))
    rate, direct = read_rate(path)
    assert rate and not direct
    found = disk_speed(patient(tmp_path, "pc"))
    assert found.state == "ok" and "perhaps from the system's cache" in found.said


def test_nothing_is_left_of_the_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(disk.tempfile, "tempdir", str(place))
    assert disk_speed(patient(tmp_path, "pc")).state in ("ok", "note")
    assert list(place.iterdir()) == []


def test_a_slow_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = toy(tmp_path / "bundle")
    here = replace(patient(tmp_path, "pc"), bundle=folder, manifest=Manifest.read(folder))
    monkeypatch.setattr(disk, "read_rate", lambda path: (40e6, True))
    found = disk_speed(here)
    assert found.state == "note" and found.said.startswith("40 MB/s: loading the bundle takes")
    monkeypatch.setattr(disk, "read_rate", lambda path: (900e6, True))
    assert disk_speed(here).state == "ok"


def test_the_largest_file_of_a_bundle(tmp_path: Path) -> None:
    folder = toy(tmp_path / "bundle")
    here = replace(patient(tmp_path, "pc"), bundle=folder, manifest=Manifest.read(folder))
    found = largest_file(here)
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.name != "manifest.json"]
    assert found is not None and found.stat().st_size == max(sizes)
    assert largest_file(patient(tmp_path / "x", "pc")) is None


def test_little_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 10**8, "total": 10**11})
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda place: usage)
    found = disk_free(replace(patient(tmp_path, "pc"), bundle=tmp_path))
    assert (found.state, found.fix) == ("note", f"df -h {tmp_path}")
    assert str(tmp_path) in found.private
