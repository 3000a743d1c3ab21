"""The same against OpenSSH's own server on the loopback, where this machine has one."""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
import time
from argparse import Namespace
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from omnijet.deployment.deploy.remote import copy
from omnijet.deployment.deploy.remote.device import Device
from omnijet.deployment.deploy.remote.parcel import Parcel
from omnijet.runtime.errors import OmnijetError
from tests.deployment.deploy.remote.devices import program

SSHD = shutil.which("sshd") or next(
    (path for path in ("/usr/sbin/sshd", "/usr/local/sbin/sshd") if Path(path).exists()), None
)
pytestmark = pytest.mark.skipif(
    SSHD is None or shutil.which("ssh") is None or shutil.which("ssh-keygen") is None,
    reason="this machine has no OpenSSH server: the fake ssh of the other tests stands for it",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """Yields the folder of the keys, and the port."""
    home = tmp_path_factory.mktemp("sshd")
    home.chmod(0o700)
    for name in ("host", "user", "other"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / name], check=True
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shutil.copy(home / "user.pub", home / "authorized")
    key = (home / "host.pub").read_text().split()
    (home / "known").write_text(f"[127.0.0.1]:{port} {key[0]} {key[1]}\n")
    (home / "unknown").write_text("")
    (home / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {home}/host\nPidFile none\n"
        f"AuthorizedKeysFile {home}/authorized\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
    )
    assert SSHD is not None
    process = subprocess.Popen([SSHD, "-D", "-e", "-f", home / "config"], stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < deadline:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        if process.poll() is not None:
            assert process.stderr is not None
            pytest.skip(f"sshd does not start here: {process.stderr.read().decode()[:200]}")
        yield home, port
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def device(
    server: tuple[Path, int], folder: Path, key: str = "user", known: str = "known"
) -> Device:
    home, port = server
    command = program(home / "omnijet", f"#!/bin/sh\necho omnijet {version('omnijet')}\n")
    ssh = f"ssh -F none -p {port} -i {home / key} -o IdentitiesOnly=yes"
    return Device.of(
        Namespace(
            on=f"{getpass.getuser()}@127.0.0.1", remote_folder=str(folder),
            remote_command=str(command), ssh=f"{ssh} -o UserKnownHostsFile={home / known}",
        ),
        "x",
    )  # fmt: skip


@pytest.mark.parametrize("with_rsync", [True, False])
def test_it_is_asked_and_sent_to(
    server: tuple[Path, int], tmp_path: Path, with_rsync: bool
) -> None:
    there = tmp_path / "it's there"
    at = device(server, there)
    found = at.require_ready()
    assert found.folder == str(there) and found.free_bytes > 0
    source = tmp_path / "weights"
    source.write_bytes(bytes(range(256)) * 4096)
    parcel = Parcel("0123", {"bundle/a weight": source})
    for cut in (None, 300_000):  # once from nothing, once behind what is there
        arrived = there / "arriving" / "bundle" / "a weight"
        if cut is not None:
            arrived.write_bytes(source.read_bytes()[:cut])
        copy.send(at.ssh, parcel, f"{there}/arriving", tmp_path, lambda done, total: None,
                  with_rsync=with_rsync)  # fmt: skip
        assert arrived.read_bytes() == source.read_bytes()


def test_a_key_that_is_not_known(server: tuple[Path, int], tmp_path: Path) -> None:
    with pytest.raises(OmnijetError, match="the key of the device is not known"):
        device(server, tmp_path, known="unknown").require_ready()


def test_a_user_who_is_not_let_in(server: tuple[Path, int], tmp_path: Path) -> None:
    with pytest.raises(OmnijetError, match="does not let this user in"):
        device(server, tmp_path, key="other").require_ready()


def test_a_port_where_nobody_listens(server: tuple[Path, int], tmp_path: Path) -> None:
    home, _ = server
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(OmnijetError, match="cannot be reached"):
            device((home, free.getsockname()[1]), tmp_path).require_ready()
