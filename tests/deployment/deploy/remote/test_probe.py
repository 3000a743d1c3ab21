"""A device is asked before hours of work, and every way that fails has words and a way out."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path

import pytest

from omnijet.deployment.deploy.remote.host import Host
from omnijet.deployment.deploy.remote.probe import probe
from omnijet.deployment.deploy.remote.ssh import Ssh
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.printable import printable
from tests.deployment.deploy.remote.devices import FakeDevice

OURS = f"#!/bin/sh\necho 'some warning' >&2\necho omnijet {version('omnijet')}\n"


def ssh() -> Ssh:
    return Ssh(Host.parsed("me@jetson"))


def test_what_a_device_answers(device: FakeDevice) -> None:
    device.omnijet(OURS)
    found = probe(ssh(), "omnijet/it's a 'folder' $HOME `x`", "omnijet")
    assert found.folder == f"{device.home}/omnijet/it's a 'folder' $HOME `x`"
    assert found.free_bytes > 1 << 20
    assert not list(device.home.glob("omnijet*"))  # it was looked at alone
    assert device.hosts == ["me@jetson"]


def test_a_command_in_words_of_its_shell(device: FakeDevice) -> None:
    device.program("../venv/bin/omnijet", OURS)
    assert probe(ssh(), "x", "~/venv/bin/omnijet").folder == f"{device.home}/x"
    assert probe(ssh(), "x", "cd ~/venv && bin/omnijet").folder == f"{device.home}/x"


def test_no_omnijet_there(device: FakeDevice) -> None:
    with pytest.raises(OmnijetError, match="no omnijet on the device") as raised:
        probe(ssh(), "x", "no-such-omnijet")
    assert "--remote-command" in str(raised.value)


def test_another_version(device: FakeDevice) -> None:
    device.omnijet("#!/bin/sh\necho omnijet 9.9.9\n")
    with pytest.raises(OmnijetError, match="another version") as raised:
        probe(ssh(), "x", "omnijet")
    assert "omnijet 9.9.9" in str(raised.value) and version("omnijet") in str(raised.value)


def test_an_answer_steers_no_terminal(device: FakeDevice) -> None:
    device.omnijet("#!/bin/sh\nprintf 'omnijet \\033[2J1.0\\n'\n")
    with pytest.raises(OmnijetError) as raised:
        probe(ssh(), "x", "omnijet")
    assert printable(str(raised.value)) == str(raised.value)


def test_a_folder_that_cannot_be_written(device: FakeDevice) -> None:
    device.omnijet(OURS)
    with pytest.raises(OmnijetError, match="cannot be written on the device"):
        probe(ssh(), "/proc/self/x", "omnijet")


@pytest.mark.parametrize(
    ("said", "what", "way"),
    [
        ("Host key verification failed.", "key of the device is not known", "by hand"),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
         "another key", "ssh-keygen -R"),
        ("me@jetson: Permission denied (publickey,password).", "does not let", "ssh-copy-id"),
        ("ssh: Could not resolve hostname jetson: Name or service not known", "no device of this",
         "check the name"),
        ("ssh: connect to host jetson port 22: Connection refused", "cannot be reached", "switch"),
        ("ssh: connect to host jetson port 22: No route to host", "cannot be reached", "switch"),
        ("command-line line 0: Bad configuration option: x", "its options", "--ssh"),
        ("client_loop: send disconnect: Broken pipe", "was lost", "same command line"),
        ("\x1b[2Jwhatever", "was lost", "same command line"),
    ],
)  # fmt: skip
def test_why_ssh_fails(device: FakeDevice, said: str, what: str, way: str) -> None:
    device.breaks(said)
    with pytest.raises(OmnijetError, match=what) as raised:
        probe(ssh(), "x", "omnijet")
    assert way in str(raised.value)
    assert printable(str(raised.value)) == str(raised.value)


def test_no_ssh_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{os.curdir}{os.pathsep}{tmp_path}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ssh").mkdir()
    with pytest.raises(OmnijetError, match="no ssh on this machine"):
        probe(ssh(), "x", "omnijet")


def test_a_device_without_a_shell(device: FakeDevice) -> None:
    device.program("sh", "#!/bin/false\n")  # not reached: the fake's own shell is the system's
    quiet = Ssh(Host.parsed("me@jetson"), ("true",))
    with pytest.raises(OmnijetError, match="does not run our script"):
        quiet.facts("true\n")
