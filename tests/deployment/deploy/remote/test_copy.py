"""What is sent arrives, however often it is cut, and nothing that has arrived is sent again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from omnijet.deployment.deploy.remote import copy
from omnijet.deployment.deploy.remote.fetch import fetch
from omnijet.deployment.deploy.remote.host import Host
from omnijet.deployment.deploy.remote.parcel import Parcel
from omnijet.deployment.deploy.remote.ssh import Ssh
from omnijet.runtime.errors import OmnijetError
from tests.deployment.deploy.remote.devices import FakeDevice

WAYS = [
    pytest.param(True, id="rsync", marks=pytest.mark.skipif(
        shutil.which("rsync") is None, reason="this machine has no rsync")),
    pytest.param(False, id="file by file"),
]  # fmt: skip
ODD = "bundle/it's a -n $HOME `x` 'name'.bin"


@pytest.fixture
def parcel(tmp_path: Path) -> Parcel:
    source = tmp_path / "source"
    files = {
        "bundle/large.bin": bytes(range(256)) * 8192,
        ODD: b"\0\n\xff" * 50_000,
        "bundle/empty.bin": b"",
        "steps.json": b"{}",
        "deploy.json": b"[]",
    }
    made = {}
    for number, (name, content) in enumerate(files.items()):
        made[name] = source / str(number)
        source.mkdir(exist_ok=True)
        made[name].write_bytes(content)
    return Parcel("0123abcd", made)


def send(parcel: Parcel, device: FakeDevice, folder: str, with_rsync: bool) -> list[int]:
    """Sends a parcel; returns the numbers of bytes that were told."""
    told: list[int] = []
    scratch = device.home.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    copy.send(
        Ssh(Host.parsed("me@jetson")), parcel, folder, scratch,
        lambda done, total: told.append(done), with_rsync=with_rsync,
    )  # fmt: skip
    assert told[-1] == parcel.bytes
    return told


def arrived(parcel: Parcel, folder: str) -> bool:
    return all(
        (Path(folder) / name).read_bytes() == path.read_bytes()
        for name, path in parcel.files.items()
    )


@pytest.mark.parametrize("with_rsync", WAYS)
def test_all_of_it_arrives(device: FakeDevice, parcel: Parcel, with_rsync: bool) -> None:
    folder = f"{device.home}/-x it's/arriving"
    send(parcel, device, folder, with_rsync)
    assert arrived(parcel, folder)


@pytest.mark.parametrize("with_rsync", WAYS)
def test_it_goes_on_where_it_was_cut(device: FakeDevice, parcel: Parcel, with_rsync: bool) -> None:
    folder = f"{device.home}/arriving"
    send(parcel, device, folder, with_rsync)
    large = Path(folder, "bundle/large.bin")
    whole = large.read_bytes()
    large.write_bytes(whole[:1_000_000])
    before = large.stat().st_ino
    Path(folder, ODD).unlink()
    send(parcel, device, folder, with_rsync)
    assert arrived(parcel, folder)
    assert large.stat().st_ino == before  # it was continued, not replaced


def test_a_file_continues_behind_what_is_there(device: FakeDevice, parcel: Parcel) -> None:
    """Nobody reads the bytes that have arrived: the device compares hashes at the end."""
    folder = f"{device.home}/arriving"
    send(parcel, device, folder, False)
    large = Path(folder, "bundle/large.bin")
    large.write_bytes(b"!" * 1_000_000)
    send(parcel, device, folder, False)
    assert large.read_bytes()[:1_000_000] == b"!" * 1_000_000
    assert large.stat().st_size == parcel.files["bundle/large.bin"].stat().st_size


@pytest.mark.parametrize("with_rsync", WAYS)
def test_another_bundle_is_not_continued(
    device: FakeDevice, parcel: Parcel, with_rsync: bool
) -> None:
    folder = f"{device.home}/arriving"
    send(parcel, device, folder, with_rsync)
    Path(folder, "bundle/large.bin").write_bytes(b"!" * 1_000_000)
    Path(folder, "bundle/of-before.bin").write_bytes(b"!")
    send(Parcel("another", parcel.files), device, folder, with_rsync)
    assert arrived(parcel, folder)
    assert not Path(folder, "bundle/of-before.bin").exists()


def test_a_shell_that_greets_gets_file_by_file(device: FakeDevice, parcel: Parcel) -> None:
    """Rsync would take the greeting for its own language."""
    (device.home / ".greets-rsync").touch()
    send(parcel, device, f"{device.home}/arriving", True)
    assert arrived(parcel, f"{device.home}/arriving")


def test_a_disk_that_is_full_is_told(device: FakeDevice, parcel: Parcel) -> None:
    fault = "cat: write error: No space left on device"
    device.program("cat", f"#!/bin/sh\necho '{fault}' >&2\nexit 1\n")
    with pytest.raises(OmnijetError, match="disk of the device is full") as raised:
        send(parcel, device, f"{device.home}/arriving", False)
    assert "--remote-folder" in str(raised.value)


def test_a_lost_connection_is_told(
    device: FakeDevice, parcel: Parcel, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = copy._append

    def append(*args: object) -> None:
        device.breaks("client_loop: send disconnect: Broken pipe")
        cut(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(copy, "_append", append)
    with pytest.raises(OmnijetError, match="connection to the device was lost"):
        send(parcel, device, f"{device.home}/arriving", False)


def test_fetched_is_what_was_asked_for(device: FakeDevice) -> None:
    folder = device.home / "it's"
    (folder / "sub").mkdir(parents=True)
    (folder / "a b").write_bytes(b"\0one\n")
    (folder / "sub" / "c").write_bytes(b"")
    (folder / "d").write_bytes(b"not asked for")
    names = ("a b", "sub/c", "none")
    found = fetch(Ssh(Host.parsed("jetson")), str(folder), names)
    assert found == {"a b": b"\0one\n", "sub/c": b""}
    assert fetch(Ssh(Host.parsed("jetson")), str(folder / "nowhere"), names) == {}
