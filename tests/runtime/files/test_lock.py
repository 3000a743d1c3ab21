"""One process works on a folder, and a killed one locks nobody out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.lock import lock_file, working_on

HOLDER = """
import sys, time
from pathlib import Path
from omnijet.runtime.files.lock import working_on
with working_on(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_second_is_told_who_is_first_and_a_kill_heals(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(OmnijetError, match="another process") as told, working_on(folder):
        pass
    assert f"process {holder.pid}" in str(told.value.got)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    assert lock_file(folder).exists()
    with working_on(folder):
        assert str(os.getpid()) in lock_file(folder).read_text()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("planted", ["link", "file", "folder", "pipe"])
def test_what_lies_in_its_place_is_not_touched(tmp_path: Path, planted: str) -> None:
    folder = tmp_path / "bundle"
    precious, place = tmp_path / "precious", lock_file(folder)
    precious.write_text("mine")
    if planted == "link":
        place.symlink_to(precious)
    elif planted == "file":
        place.write_text("mine")
    elif planted == "folder":
        place.mkdir()
    else:
        os.mkfifo(place)
    with pytest.raises(OmnijetError, match="lock"), working_on(folder):
        pass
    assert precious.read_text() == "mine" and os.path.lexists(place)
    if planted == "file":
        assert place.read_text() == "mine"


def test_the_name_of_a_link_is_no_other_lock(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "link").symlink_to("bundle")
    assert lock_file(tmp_path / "link") == lock_file(tmp_path / "bundle")


@pytest.mark.parametrize("content", [b"", b"\0" * 150])
def test_a_loss_of_power_locks_nobody_out(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "bundle"
    lock_file(folder).write_bytes(content)
    with working_on(folder):
        assert str(os.getpid()) in lock_file(folder).read_text()
    assert list(tmp_path.iterdir()) == []


def test_long_names_have_locks(tmp_path: Path) -> None:
    with working_on(tmp_path / ("a" * 255)), working_on(tmp_path / ("a" * 254)):
        assert len(list(tmp_path.iterdir())) == 2
