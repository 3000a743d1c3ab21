"""What arrives takes its place when all of it is right, and not before."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from omnijet.deployment.deploy import keys
from omnijet.deployment.deploy.arrival import receive
from omnijet.deployment.deploy.journal import Journal
from omnijet.deployment.deploy.remote.parcel import Parcel
from omnijet.deployment.deploy.walk import MADE_BEFORE, Walk
from omnijet.deployment.deploy.work import Work
from omnijet.runtime.errors import OmnijetError
from tests.deployment.deploy.works import PC, Told, work


@pytest.fixture
def sender(nano: tuple[Path, Path], tmp_path: Path) -> Work:
    """A deployment that has quantized: its bundle is that of nano."""
    at = work(tmp_path / "pc", host="me@jetson")
    shutil.copytree(nano[1], at.folder.bundle)
    at.journal.begin("quantize", "key", "", "pc")
    assert at.made is not None
    at.journal.end("quantize", output=keys.identity(at.made), seconds=2.0, peak_bytes=1,
                   took_over=(), facts={})  # fmt: skip
    at.journal.skip("check", "for this test", "pc")
    return at


def delivered(sender: Work, root: Path) -> Work:
    """Copies a parcel to where a device finds it."""
    parcel = Parcel.of(sender, with_bundle=True)
    for name, path in parcel.files.items():
        target = root / "arriving" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    from omnijet.deployment.deploy.folder import Folder
    from omnijet.deployment.deploy.here import Here

    return Work(sender.order, Folder(root), Journal.read(root), Here("jetson", PC, True))


def test_the_device_goes_on_with_what_arrived(sender: Work, tmp_path: Path) -> None:
    there = delivered(sender, tmp_path / "device")
    stray = there.folder.arriving / "bundle" / "of-before.bin"
    stray.write_bytes(b"x")
    receive(there.folder, there.journal, Told())
    assert there.made is not None and sender.made is not None
    assert keys.identity(there.made) == keys.identity(sender.made)
    assert not there.folder.arriving.exists() and not (there.folder.bundle / stray.name).exists()
    standings = {one.step.name: one for one in Walk(there, Told(), resumes=True).standings()}
    assert standings["quantize"].why == MADE_BEFORE
    assert standings["export"].state == standings["check"].state == "skipped"
    assert standings["build"].state == "to do"
    receive(there.folder, there.journal, Told())  # nothing more has arrived


def test_a_bundle_that_is_kept_on_another_disk(
    sender: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = delivered(sender, tmp_path / "device")
    arriving, rename = there.folder.arriving / "bundle", os.rename

    def fails(source: Path, target: Path, **options: int) -> None:
        if Path(source) == arriving:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target, **options)

    monkeypatch.setattr("omnijet.deployment.deploy.arrival.os.rename", fails)
    receive(there.folder, there.journal, Told())
    assert there.made is not None and sender.made is not None
    assert keys.identity(there.made) == keys.identity(sender.made)
    assert not there.folder.arriving.exists()


def test_a_damaged_file_is_found_and_sent_again(sender: Work, tmp_path: Path) -> None:
    there = delivered(sender, tmp_path / "device")
    weights = next((there.folder.arriving / "bundle" / "graphs").glob("*.weights"))
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    short = there.folder.arriving / "bundle" / "tokenizer.json"
    short.write_bytes(short.read_bytes()[:-5])
    with pytest.raises(OmnijetError, match="2 files did not arrive as they were sent"):
        receive(there.folder, there.journal, Told())
    assert not there.folder.bundle.exists()
    assert not weights.exists() and short.exists()  # a short one is continued
    there = delivered(sender, tmp_path / "device")
    receive(there.folder, there.journal, Told())
    assert there.made is not None


def test_an_older_bundle_is_replaced_in_one_step(sender: Work, tmp_path: Path) -> None:
    there = delivered(sender, tmp_path / "device")
    receive(there.folder, there.journal, Told())
    (there.folder.bundle / "mine.txt").write_text("a file of the user's")
    there.journal.begin("build", "key", "", "jetson")
    there = delivered(sender, tmp_path / "device")
    receive(there.folder, there.journal, Told())
    assert there.made is not None
    assert (there.folder.root / "bundle.kept-1" / "mine.txt").is_file()
    assert there.journal.get("build") is not None  # the device's own records stay
